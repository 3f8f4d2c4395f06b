"""Compiled code for modules that take long to compile: made once by the server, and handed over.

A session compiles a module itself. When that has taken long, the next execution asks the backend
that compiles WebAssembly, which keeps code by the module's digest; the program takes it only for
that very module, and only as it was made.
"""

import hashlib
from dataclasses import dataclass

import anyio
from anyio import to_thread

from atoll.core.errors import AtollError
from atoll.core.model import MIB
from atoll.core.ports import Compiles
from atoll.dialects.wasmrun.files import SessionFiles
from atoll.dialects.wasmrun.sessions import Code
from atoll.service.backends import Backends

SLOW_S = 0.05
SMALLEST = 32 * 1024
LARGEST = 24 * MIB
MOST = 64
PATIENCE_S = 60.0
_DIGITS = 40


@dataclass(frozen=True, slots=True)
class Modules:
    """Compiled code for the sessions of a server."""

    backends: Backends

    async def code(self, files: SessionFiles, path: str) -> tuple[str, bytes] | None:
        """What proves it, and the code; None where the session is quicker by itself."""
        slow = files.session.slow
        if path not in slow:
            return None
        compiler = self._compiler()
        if compiler is None:
            return None
        try:
            with anyio.move_on_after(PATIENCE_S):
                known = slow[path]
                if known is None:
                    known = slow[path] = await _made(compiler, files, path)
                code = await compiler.compiled(known.name) if known.name else None
                if code is not None and len(code) <= LARGEST:
                    return f"{known.module}:{await to_thread.run_sync(_digest, code)}", code
        except AtollError:
            # The session compiles it then, and says what is wrong with it.
            slow.pop(path, None)
        return None

    async def ran(self, files: SessionFiles, path: str, took_s: float) -> None:
        """Note how long an execution took."""
        slow = files.session.slow
        if took_s < SLOW_S or self._compiler() is None:
            return
        known = slow.get(path)
        if known is not None:
            found = await files.stat(path)
            if found is None or found.etag != known.etag:
                del slow[path]
        elif path not in slow and len(slow) < MOST:
            slow[path] = None

    def _compiler(self) -> Compiles | None:
        return next((each for each in self.backends if isinstance(each, Compiles)), None)


async def _made(compiler: Compiles, files: SessionFiles, path: str) -> Code:
    found = await files.stat(path)
    data = await files.read(path)
    etag = "" if found is None else found.etag
    if len(data) < SMALLEST:
        return Code(etag, "", "")
    name = await compiler.compile(data, fuel=files.session.limits.max_fuel > 0)
    return Code(etag, await to_thread.run_sync(_digest, data), name)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
