"""What the zygote of the wasm backend imports, so that its forks need not.

Programs reach it as `atoll_wasm`, since everything named `atoll…` is hidden from them. Elsewhere,
where every module of ours is imported early, it does nothing.
"""

import os
import sys

from atoll.guest.wasm import engine, program

LIBRARY = "/opt/atoll/lib"
CODE = "/opt/atoll/wasm"


def _warm() -> None:
    sys.path.append(LIBRARY)
    engine.linker(fuel=False)
    engine.trifle()
    sys.path.remove(LIBRARY)
    sys.modules["atoll_wasm"] = program


if os.path.isdir(CODE):
    _warm()
