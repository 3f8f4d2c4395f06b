"""What a zygote that runs WebAssembly imports, so that its forks need not.

Programs reach it as `atoll_wasm`, since everything named `atoll…` is hidden from them.
"""

import os
import sys

from atoll.guest.wasm import engine, program

LIBRARY = "/opt/atoll/lib"


def warm(library: str = LIBRARY) -> None:
    """Import the engine and make what all modules share, where the image has it."""
    if not os.path.isdir(f"{library}/wasmtime"):
        return
    sys.path.append(library)
    engine.linker(fuel=False)
    engine.trifle()
    sys.path.remove(library)
    sys.modules["atoll_wasm"] = program
