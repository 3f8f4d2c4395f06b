"""A running module: the worker's process, and the report of how the module ended."""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import cast

import anyio

from atoll.backends.wasm.farewell import Chunks, Farewell
from atoll.core.errors import AtollError
from atoll.core.model import Channel, Exit, ExitReason
from atoll.core.ports import Files, Process

FAILED_CODE = 134
_REPORT_MAX = 1024 * 1024
_REASONS = {
    "trap": ExitReason.TRAP,
    "fuel": ExitReason.FUEL,
    "memory": ExitReason.MEMORY,
    "wall_time": ExitReason.WALL_TIME,
}
_NUMBERS = (int, float, str)


class WasmProcess:
    """Implements `core.ports.Process`."""

    def __init__(
        self,
        worker: Process,
        output: Chunks,
        files: Files,
        report: str,
        on_stale: Callable[[], Awaitable[None]],
        *,
        function: bool,
        farewell: Farewell | None = None,
    ) -> None:
        self._farewell = farewell
        self._on_stale = on_stale
        self._worker = worker
        self._output = output
        self._files = files
        self._report = report
        self._function = function
        self._lock = anyio.Lock()
        self._exit: Exit | None = None

    @property
    def pid(self) -> int:
        return self._worker.pid

    def output(self) -> AsyncGenerator[tuple[Channel, bytes], None]:
        return self._output

    async def write_stdin(self, data: bytes) -> None:
        await self._worker.write_stdin(data)

    async def close_stdin(self) -> None:
        await self._worker.close_stdin()

    async def signal(self, number: int) -> None:
        await self._worker.signal(number)

    async def resize(self, rows: int, cols: int) -> None:
        await self._worker.resize(rows, cols)

    async def wait(self) -> Exit:
        if self._farewell is not None and self._farewell.exit is not None:
            return self._farewell.exit
        ended = await self._worker.wait()
        told = self._function or ended.code == FAILED_CODE
        if ended.reason is not ExitReason.EXITED or not told:
            return ended
        async with self._lock:
            if self._exit is None:
                self._exit = await self._explained(ended)
        return self._exit

    async def _explained(self, ended: Exit) -> Exit:
        """What the report says, which no module can write: its directory is not theirs."""
        try:
            data = bytearray()
            async for block in self._files.read(self._report, length=_REPORT_MAX):
                data += block
            await self._files.remove(self._report)
            report = cast("dict[str, object]", json.loads(bytes(data)))
            reason, detail = str(report["reason"]), str(report["detail"])
            trap, results = report["trap"], cast("list[object]", report["results"])
        except (AtollError, ValueError, KeyError, TypeError):
            return replace(ended, code=None, reason=ExitReason.UNKNOWN)
        if reason == "exited":
            numbers = tuple(one if isinstance(one, _NUMBERS) else None for one in results)
            return replace(ended, results=numbers)
        if reason == "stale":
            await self._on_stale()
        kind = _REASONS.get(reason, ExitReason.INVALID)
        name = f"{trap}: " if trap else "" if kind in _REASONS.values() else f"{reason}: "
        return replace(ended, code=None, reason=kind, detail=f"{name}{detail}".strip())
