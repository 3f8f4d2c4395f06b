"""The farewell of a worker, said on its stdout when the module has ended well.

Its memory is taken down before the kernel tells of its end, which takes longer than most modules.
"""

import re
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from atoll.core.model import Channel, Exit, ExitReason, Usage
from atoll.core.ports import Rearmable

Chunks = AsyncGenerator[tuple[Channel, bytes], None]
_SAID = re.compile(rb"(\d{1,18}):(\d{1,18})\n")
_SAID_MAX = 48
# What is read of a pipe at once: jail.host.output.
CHUNK = 64 * 1024


class Farewell:
    """Finds it at the end of the output. `exit` is None until it was said."""

    def __init__(self, nonce: str, process: Rearmable, began: float) -> None:
        self.exit: Exit | None = None
        self._mark = f"\0atoll:{nonce}:".encode()
        self._process = process
        self._began = began

    async def until(self, early: bytes, output: Chunks) -> Chunks:
        """The output without it; it ends there. `early` came before the rest."""
        held = b""
        async with aclosing(_joined(early, output)) as chunks:
            async for channel, written in chunks:
                if channel is not Channel.STDOUT:
                    yield channel, written
                    continue
                data, held = self._split(held + written)
                if data:
                    yield channel, data
                if self.exit is not None:
                    for piece in self._process.rest():
                        yield piece
                    return
            if held:
                yield Channel.STDOUT, held

    def _split(self, data: bytes) -> tuple[bytes, bytes]:
        """What is output, and what may yet become the farewell."""
        at = data.rfind(b"\0", max(0, len(data) - len(self._mark) - _SAID_MAX))
        if at < 0:
            return data, b""
        tail = data[at:]
        if not tail.startswith(self._mark):
            # A pipe is read to its end, so what is written at once is cut at a whole chunk only: a
            # NUL that is printed, to be answered perhaps, does not wait.
            cut = self._mark.startswith(tail) and len(data) >= CHUNK
            return (data[:at], tail) if cut else (data, b"")
        said = _SAID.fullmatch(tail[len(self._mark) :])
        if said is not None:
            usage = Usage(time.monotonic() - self._began, int(said[1]) / 1e6, int(said[2]) * 1024)
            self.exit = Exit(0, ExitReason.EXITED, usage=usage)
            return data[:at], b""
        return (data[:at], tail) if len(tail) < len(self._mark) + _SAID_MAX else (data, b"")


async def _joined(early: bytes, output: Chunks) -> Chunks:
    async with aclosing(output) as chunks:
        if early:
            yield Channel.STDOUT, early
        async for chunk in chunks:
            yield chunk
