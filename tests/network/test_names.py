"""Names: what may be asked, what of the answer comes back, and what may then be reached."""

import random
from collections.abc import Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest

from atoll.core.errors import BackendFault
from atoll.core.model import NetworkPolicy
from atoll.core.network import Address, rules
from atoll.network import names as module
from atoll.network.names import Names

pytestmark = pytest.mark.anyio

ZONE = {
    ("a.org.", "A"): ["a.org. 60 IN A 93.184.215.14", "a.org. 60 IN A 10.0.0.1"],
    ("a.org.", "AAAA"): ["a.org. 60 IN AAAA 2606:2800:21f::14", "a.org. 60 IN AAAA fd00::1"],
    ("alias.org.", "A"): [
        "alias.org. 30 IN CNAME b.net.", "b.net. 9999 IN A 93.184.215.15", "x.org. 1 IN A 8.8.8.8",
    ],
    ("loop.org.", "A"): ["loop.org. 1 IN CNAME loop.org."],
    ("rebound.org.", "A"): ["rebound.org. 1 IN A 169.254.169.254"],
    ("long.org.", "A"): [f"long.org. 99999 IN A 93.184.216.{n}" for n in range(60)],
}  # fmt: skip


class World:
    """A name server that knows the zone, and notes what it is asked and what is pinned."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.pinned: list[tuple[list[str], frozenset[int | None]]] = []

    async def ask(self, question: dns.message.Message) -> dns.message.Message:
        one = question.question[0]
        kind = dns.rdatatype.to_text(one.rdtype)
        self.asked.append(f"{one.name} {kind}")
        if str(one.name) == "down.org.":
            raise OSError("no answer")
        answer = dns.message.make_response(question)
        found = ZONE.get((str(one.name), kind))
        if found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        text = "\n".join([f"id {answer.id}", "flags QR RD RA", ";ANSWER", *(found or ())])
        answer.answer = dns.message.from_text(text).answer
        return dns.message.from_wire(answer.to_wire())

    async def pin(self, addresses: Sequence[Address], ports: frozenset[int | None]) -> None:
        self.pinned.append(([str(each) for each in addresses], ports))

    def names(self, mode: str, allow: str = "", deny: str = "") -> Names:
        policy = NetworkPolicy(mode, tuple(allow.split()), tuple(deny.split()))
        return Names(rules(policy), self.ask, self.pin)


async def asked(names: Names, name: str, kind: str = "A") -> tuple[str, list[str]]:
    wire = await names.answer(dns.message.make_query(name, kind).to_wire())
    assert wire is not None
    said = dns.message.from_wire(wire)
    lines = [line for each in said.answer for line in each.to_text().splitlines()]
    return dns.rcode.to_text(said.rcode()), lines


async def test_the_addresses_of_an_allowed_name_and_no_guarded_one() -> None:
    world = World()
    names = world.names("allow", "a.org")
    assert await asked(names, "a.org") == ("NOERROR", ["a.org. 60 IN A 93.184.215.14"])
    assert await asked(names, "A.oRg", "AAAA") == (
        "NOERROR", ["A.oRg. 60 IN AAAA 2606:2800:21f::14"],
    )  # fmt: skip
    assert world.pinned == [
        (["93.184.215.14"], frozenset({None})), (["2606:2800:21f::14"], frozenset({None})),
    ]  # fmt: skip


async def test_others_are_not_even_asked_for() -> None:
    world = World()
    names = world.names("allow", "a.org")
    for name in ("b.net", "secret.a.org", "a.org.evil.net", "4.3.2.1.in-addr.arpa"):
        assert await asked(names, name) == ("NXDOMAIN", [])
    assert (world.asked, names.refused) == ([], 4)
    assert (await asked(world.names("internet"), "a.org"))[0] == "NOERROR"
    assert await asked(world.names("internet", deny="a.org"), "a.org") == ("NXDOMAIN", [])


@pytest.mark.parametrize("kind", ["TXT", "NULL", "MX", "CNAME", "SRV", "HTTPS", "ANY", "SOA"])
async def test_only_addresses_are_told(kind: str) -> None:
    world = World()
    assert await asked(world.names("allow", "a.org"), "a.org", kind) == ("NOERROR", [])
    assert world.asked == []


async def test_nothing_of_the_guests_message_goes_on() -> None:
    world = World()
    question = dns.message.make_query("a.org", "A", use_edns=0, payload=4096)
    question.additional.append(dns.rrset.from_text("smuggled.net.", 1, "IN", "TXT", "secret"))
    assert await world.names("allow", "a.org").answer(question.to_wire()) is not None
    assert world.asked == ["a.org. A"]


async def test_aliases_end_in_addresses_of_the_name_itself() -> None:
    world = World()
    assert await asked(world.names("allow", "alias.org"), "alias.org") == (
        "NOERROR", ["alias.org. 30 IN A 93.184.215.15"],
    )  # fmt: skip
    assert await asked(world.names("allow", "loop.org"), "loop.org") == ("NOERROR", [])


async def test_a_name_cannot_be_bound_to_a_guarded_address() -> None:
    world = World()
    assert await asked(world.names("allow", "rebound.org"), "rebound.org") == ("NOERROR", [])
    assert await asked(world.names("internet"), "rebound.org") == ("NOERROR", [])
    assert world.pinned == []
    both = world.names("allow", "rebound.org 169.254.169.254")
    assert (await asked(both, "rebound.org"))[1] == ["rebound.org. 1 IN A 169.254.169.254"]


async def test_ports_numbers_and_times_are_bounded() -> None:
    world = World()
    code, lines = await asked(world.names("allow", "long.org:443 *.org:80"), "long.org")
    assert (code, len(lines), lines[0].split()[1]) == ("NOERROR", 32, "300")
    assert world.pinned[0][1] == {443, 80}
    wire = dns.message.make_query("a.org", "A").to_wire()
    names = world.names("internet")
    answered = [await names.answer(wire) is not None for _ in range(200)]
    assert answered[0]
    assert not answered[-1]


async def test_what_cannot_be_let_through_is_not_told() -> None:
    class Full(World):
        async def pin(self, addresses: Sequence[Address], ports: frozenset[int | None]) -> None:
            raise BackendFault("no room")

    assert await asked(Full().names("allow", "a.org"), "a.org") == ("SERVFAIL", [])
    world = World()
    many = " ".join(f"long.org:{port}" for port in range(1, 129))
    assert len((await asked(world.names("allow", many), "long.org"))[1]) == 2
    assert len(world.pinned[0][0]) == 2


async def test_no_message_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RATE", 1e9)
    world = World()
    names = world.names("internet")
    chance = random.Random(7)
    good = [
        dns.message.make_query(name, kind, use_edns=0).to_wire()
        for name in ("a.org", "alias.org", "x" * 63 + ".org", r"a\.b\000c.org")
        for kind in ("A", "AAAA", "TXT")
    ]
    answered = 0
    for _ in range(3000):
        wire = bytearray(chance.choice(good))
        for _ in range(chance.randrange(4)):
            wire[chance.randrange(len(wire))] = chance.randrange(256)
        answered += (
            await names.answer(bytes(wire[: chance.randrange(len(wire) + 1) or None])) is not None
        )
    assert answered > 50


async def test_what_cannot_be_answered() -> None:
    world = World()
    names = world.names("internet")
    assert await asked(names, "down.org") == ("SERVFAIL", [])
    assert await asked(names, "none.org") == ("NXDOMAIN", [])
    assert await names.answer(b"") is None
    assert await names.answer(b"\0" * 12) is None
    assert await names.answer(b"\xff" * 600) is None
    question = dns.message.make_query("a.org", "A")
    question.flags |= dns.flags.QR
    assert await names.answer(question.to_wire()) is None
    chaos = dns.message.make_query("version.bind", "TXT", "CH")
    wire = await names.answer(chaos.to_wire())
    assert wire is not None
    assert dns.message.from_wire(wire).rcode() == dns.rcode.NOTIMP
