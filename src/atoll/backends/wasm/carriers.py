"""The first of several backends that this host can carry, for the wasm backend to work in."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Self

import anyio

from atoll.core.errors import Unavailable, Unsupported
from atoll.core.model import BackendReport, SandboxSpec
from atoll.core.ports import Backend, Sandbox, Snapshots


class FirstUsable:
    """Implements `core.ports.Backend` and `Snapshots` by one of `carriers`, the strongest first.

    What another of them keeps from before is still owned, and can be destroyed, but not opened:
    it would be an empty sandbox of the same id.
    """

    def __init__(self, carriers: Sequence[Backend]) -> None:
        self._carriers = carriers
        self._chosen: Backend | None = None
        self._choosing = anyio.Lock()
        self._exits = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        for each in self._carriers:
            if isinstance(each, AbstractAsyncContextManager):
                await self._exits.enter_async_context(each)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._exits.aclose()

    @property
    def name(self) -> str:
        return (self._chosen or self._carriers[0]).name

    async def probe(self) -> BackendReport:
        async with self._choosing:
            if self._chosen is not None:
                return await self._chosen.probe()
            reports = [await each.probe() for each in self._carriers[:1]]
            for each in self._carriers[1:]:
                if reports[-1].usable:
                    break
                reports.append(await each.probe())
            if reports[-1].usable:
                self._chosen = self._carriers[len(reports) - 1]
                return reports[-1]
            return reports[0]

    async def _carrier(self) -> Backend:
        if self._chosen is None:
            report = await self.probe()
            if self._chosen is None:
                raise Unavailable(report.why)
        return self._chosen

    @contextlib.asynccontextmanager
    async def open(self, spec: SandboxSpec) -> AsyncGenerator[Sandbox, None]:
        carrier = await self._carrier()
        if spec.persistent:
            for other in self._carriers:
                if other is not carrier and spec.id in await other.owned():
                    raise Unavailable(
                        f"The files of sandbox {spec.id} were made by workers of the kind "
                        f"{other.name}, which this host cannot start now."
                    )
        async with carrier.open(spec) as box:
            yield box

    async def owned(self) -> Sequence[str]:
        return sorted({name for each in self._carriers for name in await each.owned()})

    async def destroy(self, sandbox_id: str) -> None:
        for each in self._carriers:
            await each.destroy(sandbox_id)

    # snapshots
    def _shelf(self) -> Snapshots:
        for each in self._carriers:
            if isinstance(each, Snapshots):
                return each
        raise Unsupported("Workers of this kind have no snapshots.")

    async def snapshot(self, sandbox_id: str, snapshot_id: str) -> None:
        await self._shelf().snapshot(sandbox_id, snapshot_id)

    async def drop_snapshot(self, snapshot_id: str) -> None:
        await self._shelf().drop_snapshot(snapshot_id)

    async def snapshot_size(self, snapshot_id: str) -> int:
        return await self._shelf().snapshot_size(snapshot_id)

    async def snapshots(self) -> Sequence[str]:
        return await self._shelf().snapshots()
