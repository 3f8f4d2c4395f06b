"""The host's side of all uplinks: one table, read in one go, and made anew when it has gone."""

import time
from collections.abc import Mapping
from typing import Protocol

import anyio
import structlog

from atoll.core.errors import BackendFault
from atoll.network import commands, ruleset
from atoll.network.places import Place

FRESH_S = 1.0
_log = structlog.stdlib.get_logger(__name__)


class Joined(Protocol):
    """An uplink, as far as the table is concerned."""

    @property
    def place(self) -> Place: ...

    async def rejoin(self) -> None:
        """Make its own part of the table again."""
        ...


class HostSide:
    """What the table of a server says. `owner` is the server's name."""

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._uplinks: dict[int, Joined] = {}
        self._counts: Mapping[str, int] = {}
        self._until = 0.0
        self._looking = anyio.Lock()

    def join(self, uplink: Joined) -> None:
        """It is part of the table from now on."""
        self._uplinks[uplink.place.number] = uplink

    def leave(self, place: Place) -> None:
        """It is not, any more. Idempotent."""
        self._uplinks.pop(place.number, None)

    async def denied(self, place: Place) -> int:
        """Packets of a place that were refused here. As of a second ago at most."""
        async with self._looking:
            if time.monotonic() >= self._until:
                self._counts = await self._looked()
                self._until = time.monotonic() + FRESH_S
        return sum(self._counts.get(f"{kind}{place.number}", 0) for kind in ("on", "in"))

    async def _looked(self) -> Mapping[str, int]:
        """The counters by chain. Somebody else may have removed the table, or emptied it."""
        try:
            counts = await commands.counted(f"table inet {ruleset.table(self._owner)}")
        except BackendFault:
            counts = {}
        wanted = {f"on{number}" for number in self._uplinks}
        if not wanted <= set(counts) or "out" not in counts:
            _log.error("the host's rules of networks have gone; they are made anew")
            await commands.nft(ruleset.host(self._owner))
            for uplink in list(self._uplinks.values()):
                await uplink.rejoin()
        return counts
