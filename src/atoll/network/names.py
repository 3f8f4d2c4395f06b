"""Answers about names: what a guest may ask, what it is told, and what it may then reach.

Nothing of a guest's message goes on: a new question for the addresses of an allowed name is asked,
and of its answer only addresses that the policy can let through come back, under the name itself.
So there is no way out through labels of other names, other types of records or additional data, and
no name leads to a guarded address.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from time import monotonic
from typing import cast

import anyio
import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rdata import Rdata
from dns.rdtypes.ANY.CNAME import CNAME

from atoll.core.errors import AtollError
from atoll.core.network import Address, Rules

Ask = Callable[[dns.message.Message], Awaitable[dns.message.Message]]
Pin = Callable[[Sequence[Address], frozenset[int | None]], Awaitable[None]]

_CONFIG = "/etc/resolv.conf"
TTL_MAX_S = 300
ADDRESSES_MAX = 32
ASKED_S = 2.0
_TRIES = 2
_CHAIN_MAX = 8
_PINS_AT_ONCE = 256
_RATE = 50.0  # questions a second, and as many at once after a pause
_TYPES = (dns.rdatatype.A, dns.rdatatype.AAAA)


class Upstream:
    """Asks the host's own name servers, or those that the operator names, one after the other."""

    def __init__(self, servers: Sequence[str] = ()) -> None:
        self._servers = tuple(servers)

    async def ask(self, question: dns.message.Message) -> dns.message.Message:
        """The first answer. `dns.exception.DNSException`, `OSError` when there is none."""
        if not self._servers:
            text = await anyio.Path(_CONFIG).read_text()
            words = [line.split() for line in text.splitlines()]
            self._servers = tuple(w[1] for w in words if w[:1] == ["nameserver"] and len(w) > 1)
        last: Exception = OSError("the host has no name server")
        for _ in range(_TRIES):
            for server in self._servers:
                where, _, port = server.partition("#")
                try:
                    answer, _ = await dns.asyncquery.udp_with_fallback(
                        question, where, timeout=ASKED_S, port=int(port or 53)
                    )
                except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
                    last = error
                else:
                    return answer
        raise last


@dataclass(slots=True)
class Pace:
    """A bucket of questions, so that a guest cannot make the host ask without end."""

    left: float = 0.0
    at: float = 0.0  # so long ago that it is full

    def take(self) -> bool:
        """Whether there is one left."""
        now = monotonic()
        self.left = min(_RATE, self.left + (now - self.at) * _RATE)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Names:
    """One sandbox's names. `rules` may be replaced; `pin` lets through what was answered."""

    def __init__(self, rules: Rules, ask: Ask, pin: Pin) -> None:
        self.rules = rules
        self.refused = 0
        self._ask = ask
        self._pin = pin
        self._pace = Pace()

    async def answer(self, wire: bytes) -> bytes | None:
        """The answer to one message; None for what deserves none."""
        if not self._pace.take():  # before it is read, which is what costs
            return None
        try:
            asked = dns.message.from_wire(wire, ignore_trailing=False)
        except (dns.exception.DNSException, ValueError):
            return None
        if asked.flags & dns.flags.QR or len(asked.question) != 1:
            return None
        try:
            said = dns.message.make_response(asked, recursion_available=True)
            said.set_rcode(await self._judge(asked, said))
            return said.to_wire(max_size=65_535)
        except (dns.exception.DNSException, ValueError):
            return None  # what cannot be said in a message

    async def _judge(
        self, asked: dns.message.Message, said: dns.message.Message
    ) -> dns.rcode.Rcode:
        question = asked.question[0]
        name = question.name
        if asked.opcode() != dns.opcode.QUERY or question.rdclass != dns.rdataclass.IN:
            return dns.rcode.NOTIMP
        if not self.rules.resolves(name.to_text(omit_final_dot=True)):
            self.refused += 1
            return dns.rcode.NXDOMAIN
        if question.rdtype not in _TYPES:
            return dns.rcode.NOERROR  # there is such a name, and nothing of that type to be told
        try:
            found = await self._ask(dns.message.make_query(name.to_text().lower(), question.rdtype))
        except (dns.exception.DNSException, OSError, EOFError, ValueError):
            return dns.rcode.SERVFAIL
        if found.rcode() != dns.rcode.NOERROR:
            known = found.rcode() == dns.rcode.NXDOMAIN
            return dns.rcode.NXDOMAIN if known else dns.rcode.SERVFAIL
        addresses, ttl = _addresses(found, name, question.rdtype)
        addresses = self._passing(addresses)
        if addresses:
            try:
                addresses = await self._admitted(name, addresses)
            except AtollError:
                return dns.rcode.SERVFAIL
            texts = [str(each) for each in addresses]
            said.answer.append(dns.rrset.from_text_list(name, ttl, "IN", question.rdtype, texts))
        return dns.rcode.NOERROR

    async def reachable(self, host: str, port: int) -> Sequence[Address]:
        """Where a host may be reached on a guest's behalf, which is never this host's loopback."""
        rules = self.rules
        try:
            found = [ip_address(host)]
            pins: frozenset[int | None] = frozenset()
        except ValueError:
            pins = rules.ports(host)
            fits = rules.mode == "internet" or pins & {None, port}
            found = await self._looked_up(host) if rules.resolves(host) and fits else []
        passing = [
            each
            for each in found
            if not (each.is_loopback or each.is_unspecified or _mapped(each))
            if rules.passes(each, port, [(each, pin) for pin in pins])
        ]
        if not passing or rules is not self.rules:
            self.refused += 1
            return ()
        return passing

    async def _looked_up(self, host: str) -> list[Address]:
        """All addresses of a name, of both kinds."""
        found: list[Address] = []
        for kind in _TYPES:
            if not self._pace.take():
                break
            with suppress(dns.exception.DNSException, OSError, EOFError, ValueError):
                said = await self._ask(dns.message.make_query(f"{host}.", kind))
                found += _addresses(said, dns.name.from_text(f"{host}."), kind)[0]
        return found

    def _passing(self, addresses: list[Address]) -> list[Address]:
        """Those that pinning could let through: neither denied nor guarded."""
        ports = {entry.port for entry in (*self.rules.deny, *self.rules.allow)} | {None, 443}
        return [
            each
            for each in addresses
            if any(self.rules.passes(each, port, [(each, None)]) for port in ports)
        ]

    async def _admitted(self, name: dns.name.Name, addresses: list[Address]) -> list[Address]:
        """Those that may be reached from now on: fewer, where they are let through port by port."""
        ports = self.rules.ports(name.to_text(omit_final_dot=True))
        if ports:
            addresses = addresses[: max(1, _PINS_AT_ONCE // len(ports))]
            await self._pin(addresses, ports)
        return addresses


def _mapped(address: Address) -> bool:
    """Whether a socket would take it for another address, of IPv4."""
    return isinstance(address, IPv6Address) and address.ipv4_mapped is not None


def _addresses(
    answer: dns.message.Message, name: dns.name.Name, kind: dns.rdatatype.RdataType
) -> tuple[list[Address], int]:
    """What a name's chain of aliases ends in, and how long that holds."""
    ttl = TTL_MAX_S
    for _ in range(_CHAIN_MAX):
        found = answer.get_rrset(answer.answer, name, dns.rdataclass.IN, kind)
        if found is not None:
            items = cast("Iterable[Rdata]", found)
            texts = [item.to_text() for item in items][:ADDRESSES_MAX]
            return [ip_address(text) for text in texts], max(0, min(ttl, found.ttl))
        alias = answer.get_rrset(answer.answer, name, dns.rdataclass.IN, dns.rdatatype.CNAME)
        if alias is None:
            break
        ttl = min(ttl, alias.ttl)
        name = cast("CNAME", cast("Sequence[Rdata]", alias)[0]).target
    return [], 0
