"""Implements `core.uplinks` as root: a pair of links, addresses, rules on both sides, the end."""

import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import anyio
import structlog
from anyio import to_thread
from anyio.abc import TaskGroup

from atoll.core.errors import AtollError, BackendFault
from atoll.core.model import NetworkPolicy
from atoll.core.network import Address, Network, Rules, rules
from atoll.network import commands, ruleset
from atoll.network.hostside import HostSide
from atoll.network.names import Ask, Names, Upstream
from atoll.network.places import Place, Places
from atoll.network.proxy import Proxy
from atoll.network.proxying import dialled, proxying
from atoll.network.resolver import listening

DIRECTORY = Path("/run/atoll/network")
_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
_log = structlog.stdlib.get_logger(__name__)


class RootUplinks:
    """Uplinks of one server, `owner` by name (hex), which no other server of this host has.

    `guarded` are ranges that the operator guards besides the usual ones; `ask` asks for names.
    `alias` is an address by which sandboxes reach this host, where their policies list it.
    Enter it before use.
    """

    def __init__(
        self,
        owner: str,
        guarded: Sequence[Network] = (),
        directory: Path = DIRECTORY,
        ask: Ask | None = None,
        alias: str = "",
    ) -> None:
        self._owner = owner
        self._guarded: tuple[Network, ...] = tuple(guarded)
        self._ask = ask or Upstream().ask
        self._alias = alias
        self._side = HostSide(owner)
        self._places = Places(directory, owner)
        self._ready = False
        self._lock = anyio.Lock()
        self._held: set[int] = set()
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)
            self._tasks = None
        if self._ready:
            with anyio.CancelScope(shield=True), suppress(BackendFault):
                await commands.nft(ruleset.unhost(self._owner))
            self._ready = False

    async def why_not(self) -> str:
        if os.geteuid() != 0:
            return "A network for sandboxes needs a server that runs as root."
        lacking = await to_thread.run_sync(commands.lacking)
        if lacking:
            missing = ", ".join(lacking)
            return f"A network for sandboxes needs {missing}: install iproute2 and nftables."
        try:
            await self._prepare()
        except BackendFault as error:
            return error.detail
        return ""

    @asynccontextmanager
    async def connect(
        self, sandbox_id: str, pidfd: int, policy: NetworkPolicy
    ) -> AsyncGenerator["RootUplink", None]:
        if self._tasks is None:
            raise BackendFault("The server is ending.", sandbox_id=sandbox_id)
        wanted = rules(policy, self._guarded)
        await self._prepare()
        place = await to_thread.run_sync(self._places.take)
        self._held.add(place.number)
        within = -1
        try:
            within = await self._join(place, wanted, pidfd)
            uplink = RootUplink(place, within, wanted, self._ask, self._alias, self._side)
            async with (
                listening(self._tasks, place.gateway4, uplink.names.answer) as ports,
                proxying(self._tasks, place.gateway4, uplink.proxy) as proxy,
            ):
                uplink.ports = (*ports, proxy)
                await commands.nft(ruleset.asked(place, uplink.ports, self._alias))
                self._side.join(uplink)
                yield uplink
        finally:
            self._side.leave(place)
            if within >= 0:
                os.close(within)
            with anyio.CancelScope(shield=True):
                await self._leave(place)

    async def _prepare(self) -> None:
        """The server's own table and what a killed one has left, once."""
        if self._ready:
            return
        async with self._lock:
            if self._ready:
                return
            await to_thread.run_sync(_forward)
            await commands.nft(ruleset.host(self._owner))
            for place in await to_thread.run_sync(self._places.left_over):
                if place.number not in self._held:
                    await self._unlink(place)
                    await to_thread.run_sync(self._places.give_back, place)
            self._ready = True

    async def _join(self, place: Place, wanted: Rules, pidfd: int) -> int:
        """Rules first, then the link, whose end is made where it belongs; that namespace."""
        try:
            within = await to_thread.run_sync(commands.namespace_of, pidfd)
        except ProcessLookupError:
            raise BackendFault("The sandbox has ended before it had a network.") from None
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            await self._wire(place, wanted, within, home)
        except BaseException:
            os.close(within)
            raise
        finally:
            os.close(home)
        return within

    async def _wire(self, place: Place, wanted: Rules, within: int, home: int) -> None:
        await commands.nft(ruleset.guest(wanted), within=within)
        await commands.nft(ruleset.joined(place, wanted, self._alias))
        await commands.ip(
            [
                f"link add eth0 type veth peer name {place.link} netns {{other}}",
                f"address add {place.guest4}/30 dev eth0",
                f"address add {place.guest6}/112 dev eth0 nodad",
                "link set eth0 up",
            ],
            within=within,
            other=home,
        )
        await commands.ip(
            [
                f"address add {place.gateway4}/30 dev {place.link}",
                f"address add {place.gateway6}/112 dev {place.link} nodad",
                f"link set {place.link} up",
            ]
        )
        await commands.ip(
            [f"route add default via {place.gateway4}", f"route add default via {place.gateway6}"],
            within=within,
        )

    async def _leave(self, place: Place) -> None:
        try:
            await self._unlink(place)
            with suppress(BackendFault):
                await commands.nft(ruleset.left(place))
        except AtollError as error:
            _log.warning("uplink not removed", link=place.link, error=error.detail)
            return
        self._held.discard(place.number)
        await to_thread.run_sync(self._places.give_back, place)

    async def _unlink(self, place: Place) -> None:
        """The pair goes with either end; it may have gone with the sandbox's namespace already."""
        with suppress(BackendFault):
            await commands.ip([f"link delete {place.link}"])


class RootUplink:
    """Implements `core.uplinks.Uplink`."""

    def __init__(
        self, place: Place, within: int, wanted: Rules, ask: Ask, alias: str, side: HostSide
    ) -> None:
        self.names = Names(wanted, ask, self._pin)
        self.proxy = Proxy(self.names.reachable, dialled)
        self.ports: tuple[int, int, int] = (0, 0, 0)
        self._side = side
        self._place = place
        self._alias = alias
        self._within = within
        self._changing = anyio.Lock()

    @property
    def addresses(self) -> Sequence[str]:
        return (self._place.guest4, self._place.guest6)

    async def change(self, policy: NetworkPolicy) -> None:
        """The host's side first: what both must let through is what the stricter of them does."""
        wanted = rules(policy, self.names.rules.guarded)
        with anyio.CancelScope(shield=True):
            async with self._changing:
                self.names.rules, self.names.refused = wanted, 0
                self.proxy.drop()
                await commands.nft(ruleset.changed(self._place, wanted, self._alias))
                await commands.nft(ruleset.guest(wanted), within=self._within)

    @property
    def place(self) -> Place:
        """What is its own of the host's addresses and links."""
        return self._place

    async def denied(self) -> int:
        """What was refused since it was connected or changed last: packets, names and attempts."""
        outside = await self._side.denied(self._place)
        async with self._changing:
            inside = await commands.counted("table inet atoll", within=self._within)
        return sum(inside.values()) + outside + self.names.refused + self.proxy.refused

    async def rejoin(self) -> None:
        """Make its rules on the host's side again. What names were pinned to is asked for anew."""
        async with self._changing:
            await commands.nft(
                ruleset.joined(self._place, self.names.rules, self._alias)
                + ruleset.asked(self._place, self.ports, self._alias)
                + "\n"
            )
            await commands.nft(ruleset.unpinned(None), within=self._within)

    async def _pin(self, addresses: Sequence[Address], ports: frozenset[int | None]) -> None:
        asked = self.names.rules
        with anyio.CancelScope(shield=True):
            async with self._changing:
                if self.names.rules is asked:
                    try:
                        await self._add(addresses, ports)
                    except BackendFault:  # full: the guest has to ask again for what it still needs
                        await commands.nft(ruleset.unpinned(None), within=self._within)
                        await commands.nft(ruleset.unpinned(self._place))
                        await self._add(addresses, ports)

    async def _add(self, addresses: Sequence[Address], ports: frozenset[int | None]) -> None:
        await commands.nft(ruleset.pinned(None, addresses, ports), within=self._within)
        await commands.nft(ruleset.pinned(self._place, addresses, ports))


def _forward() -> None:
    """Let the host forward IPv4. IPv6 is the operator's own choice, since it changes more."""
    if _FORWARD.read_text().strip() != "1":
        _FORWARD.write_text("1")
