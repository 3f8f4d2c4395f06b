"""The backends of this server, in the operator's order, and which of them serves a request."""

from collections.abc import Iterator, Sequence

import anyio

from atoll.core.model import BackendReport, Isolation, NetworkPolicy
from atoll.core.policy import choose
from atoll.core.ports import Backend
from atoll.service.clock import Clock

NETWORK = "network"
MODULES = "wasm"
NOTHING: frozenset[str] = frozenset()
_NETWORK: frozenset[str] = frozenset({NETWORK})


def needs_of(network: NetworkPolicy) -> frozenset[str]:
    """The capabilities that a network policy asks of a backend."""
    return NOTHING if network.mode == "none" else _NETWORK


class Backends:
    """Asks backends what they can do at most once a minute, and chooses by the answer."""

    def __init__(self, backends: Sequence[Backend], *, clock: Clock, fresh_s: float = 60.0) -> None:
        self._backends = {backend.name: backend for backend in backends}
        self._clock = clock
        self._fresh_s = fresh_s
        self._lock = anyio.Lock()
        self._reports: Sequence[BackendReport] = ()
        self._stale_at = float("-inf")
        self._chosen: dict[tuple[str | None, Isolation | None, frozenset[str]], Backend] = {}

    def __iter__(self) -> Iterator[Backend]:
        return iter(self._backends.values())

    def named(self, name: str) -> Backend | None:
        """The backend of that name, usable or not; None when this server has none such."""
        return self._backends.get(name)

    async def reports(self) -> Sequence[BackendReport]:
        """What each can do here, in order."""
        if self._clock.monotonic() >= self._stale_at:
            async with self._lock:
                if self._clock.monotonic() >= self._stale_at:
                    await self._probe()
        return self._reports

    async def choose(
        self,
        backend: str | None = None,
        min_isolation: Isolation | None = None,
        needs: frozenset[str] = NOTHING,
    ) -> Backend:
        """The first that is usable, strong enough and can do `needs`. Raises as `policy.choose`."""
        key = (backend, min_isolation, needs)
        if self._clock.monotonic() < self._stale_at:
            known = self._chosen.get(key)
            if known is not None:
                return known
        reports = await self.reports()
        report = choose(reports, backend=backend, min_isolation=min_isolation, needs=needs)
        found = self._backends[report.name]
        self._chosen[key] = found
        return found

    async def place(
        self,
        wished: NetworkPolicy,
        backend: str | None = None,
        min_isolation: Isolation | None = None,
        needs: frozenset[str] = NOTHING,
    ) -> tuple[Backend, NetworkPolicy]:
        """The same for who wishes for a network but takes none: also what network it gets."""
        found = await self.choose(backend, min_isolation, needs)
        if wished.mode == "none" or await self.can(found.name, NETWORK):
            return found, wished
        return found, NetworkPolicy()

    async def can(self, backend: str, capability: str) -> bool:
        """Whether that backend has the capability here."""
        reports = await self.reports()
        return any(each.name == backend and capability in each.capabilities for each in reports)

    async def _probe(self) -> None:
        self._reports = [await backend.probe() for backend in self._backends.values()]
        self._chosen.clear()
        self._stale_at = self._clock.monotonic() + self._fresh_s
