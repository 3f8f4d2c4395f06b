"""What a sandbox reaches: each rule both ways, by TCP, UDP and ICMP, IPv4 and IPv6."""

import ipaddress
import socket
import threading
from dataclasses import replace

import pytest

from atoll.backends.namespace import NamespaceBackend
from atoll.backends.namespace.sandbox import NamespaceSandbox
from atoll.core.errors import Conflict
from atoll.core.model import NetworkPolicy
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import fresh, python
from tests.security.network.conftest import Opening
from tests.security.network.outside import (
    METADATA,
    OPEN4,
    OPEN6,
    OTHER4,
    OTHER6,
    PORT,
    PRIVATE4,
    PRIVATE6,
    SECOND,
)
from tests.security.probe import PRELUDE, inside

pytestmark = [pytest.mark.anyio, pytest.mark.needs("root", "userns", "netns", "nft", "ipv6")]

REACH = """
def reach(kind, host, port):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, kind) as sock:
        sock.settimeout(3)
        sock.connect((host, port))
        if kind == socket.SOCK_DGRAM:
            sock.send(b"who am I?")
        return sock.recv(100).decode()
wanted = %r
kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
said = [attempt(reach, kinds[kind], host, port) for kind, host, port in wanted]
tell(["reached" if "." in one or ":" in one else one for one in said])
"""
REFUSED = {"EHOSTUNREACH", "EACCES", "ENETUNREACH", "EPERM", "timed out"}
TCP4, UDP4 = ("tcp", OPEN4, PORT), ("udp", OPEN4, PORT)
TCP6, UDP6 = ("tcp", OPEN6, PORT), ("udp", OPEN6, PORT)

Target = tuple[str, str, int]


async def reached(box: Sandbox, *targets: Target) -> list[bool]:
    said = await inside(box, REACH % (list(targets),))
    assert all(one == "reached" or one in REFUSED for one in said), said
    return [one == "reached" for one in said]


def gateway(box: NamespaceSandbox) -> str:
    """The host's end of its link."""
    return str(ipaddress.ip_address(box.addresses[0]) - 1)


@pytest.mark.parametrize("target", [TCP4, UDP4, TCP6, UDP6])
async def test_nothing_without_a_network_and_all_with_the_internet(
    opening: Opening, target: Target
) -> None:
    async with opening("none") as box:
        assert await reached(box, target) == [False]
    async with opening("internet") as box:
        assert await reached(box, target) == [True]


@pytest.mark.parametrize("target", [TCP4, UDP4, TCP6, UDP6])
async def test_an_empty_list_lets_nothing_through(opening: Opening, target: Target) -> None:
    async with opening("allow") as box:
        assert await reached(box, target) == [False]
    async with opening("allow", target[1]) as box:
        assert await reached(box, target) == [True]


@pytest.mark.parametrize(
    ("allow", "there", "not_there"),
    [
        (OPEN4, TCP4, ("tcp", OTHER4, PORT)),
        (OPEN6, TCP6, ("tcp", OTHER6, PORT)),
        (f"{OPEN4}/31", ("tcp", OTHER4, PORT), TCP6),
        (f"{OPEN4}:{PORT}", TCP4, ("tcp", OPEN4, SECOND)),
        (f"{OPEN4}:{PORT}", UDP4, ("udp", OPEN4, SECOND)),
        (f"[{OPEN6}]:{PORT}", TCP6, ("tcp", OPEN6, SECOND)),
        ("0.0.0.0/0", TCP4, ("tcp", PRIVATE4, PORT)),
        ("::/0", TCP6, ("tcp", PRIVATE6, PORT)),
        (PRIVATE4, ("tcp", PRIVATE4, PORT), TCP4),
        ("fd99::/64", ("tcp", PRIVATE6, PORT), TCP6),
        (METADATA, ("tcp", METADATA, PORT), TCP4),
    ],
)
async def test_only_what_is_listed(
    opening: Opening, allow: str, there: Target, not_there: Target
) -> None:
    async with opening("allow", allow) as box:
        assert await reached(box, there, not_there) == [True, False]


@pytest.mark.parametrize(
    "target",
    [("tcp", METADATA, PORT), ("udp", METADATA, PORT), ("tcp", PRIVATE4, PORT),
     ("tcp", PRIVATE6, PORT)],
)  # fmt: skip
async def test_the_internet_is_neither_metadata_nor_neighbours(
    opening: Opening, target: Target
) -> None:
    async with opening("internet") as box:
        assert await reached(box, target, TCP4) == [False, True]
    async with opening("internet", target[1]) as box:
        assert await reached(box, target) == [True]


async def test_deny_wins(opening: Opening) -> None:
    other = ("tcp", OTHER4, PORT)
    async with opening("allow", f"{OPEN4}/31", OPEN4) as box:
        assert await reached(box, TCP4, other) == [False, True]
    async with opening("internet", "", f"{OPEN4}:{PORT}") as box:
        assert await reached(box, TCP4, ("tcp", OPEN4, SECOND)) == [False, True]


async def test_the_host_is_not_reached_unless_it_is_listed(opening: Opening) -> None:
    """Its own addresses and the gateway; a server there stands for Atoll's own API."""
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            while True:
                try:
                    peer, source = server.accept()
                except OSError:
                    return
                with peer:
                    peer.sendall(source[0].encode())

        threading.Thread(target=serve, daemon=True).start()
        async with opening("internet") as box:
            spots: list[Target] = [("tcp", host, port) for host in (gateway(box), "10.99.0.1")]
            assert await reached(box, *spots, TCP4) == [False, False, True]
        async with opening("allow", "100.64.0.0/16 10.99.0.1/32") as box:
            spots = [("tcp", host, port) for host in (gateway(box), "10.99.0.1")]
            assert await reached(box, *spots, TCP4) == [True, True, False]
        server.shutdown(socket.SHUT_RDWR)


LISTEN = """
with socket.create_server(("", 7000)) as server:
    tell("listens")
    server.settimeout(8)
    while True:
        peer, _ = server.accept()
        peer.sendall(b"a.b")
        peer.close()
"""


async def test_other_sandboxes_are_not_reached_even_when_listed(opening: Opening) -> None:
    async with opening("internet") as victim:
        process = await victim.start(python(PRELUDE + LISTEN))
        async for _ in process.output():
            break
        target = ("tcp", victim.addresses[0], 7000)
        async with opening("internet", "100.64.0.0/10") as box:
            assert await reached(box, target, TCP4) == [False, True]
        assert await reached(victim, ("tcp", "127.0.0.1", 7000)) == [True]


RAW = """
def raw():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
def packet():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
def bound():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND
        sock.bind(("10.99.0.1", 0))
        sock.settimeout(2)
        sock.connect(("%s", %d))
        sock.send(b"spoofed")
        return sock.recv(10)
tell([attempt(raw), attempt(packet), attempt(bound)])
"""


async def test_no_raw_packets_and_no_address_but_its_own(opening: Opening) -> None:
    async with opening("internet") as box:
        raw, packet, bound = await inside(box, RAW % (OPEN4, PORT))
        assert raw in {"EPERM", "EACCES"}
        assert packet in {"EPERM", "EACCES", "EAFNOSUPPORT"}
        assert bound in REFUSED
        assert await reached(box, UDP4) == [True]


RULES = """
def changed(*words):
    import subprocess
    done = subprocess.run(words, capture_output=True)
    return "ok" if done.returncode == 0 else "refused"
tell([attempt(changed, "/usr/sbin/nft", "flush", "ruleset"),
      attempt(changed, "/usr/sbin/ip", "address", "add", "10.99.0.9/24", "dev", "eth0"),
      attempt(changed, "/usr/sbin/ip", "route", "add", "default", "via", "10.99.0.2")])
"""


async def test_a_guest_cannot_change_its_rules_or_addresses(opening: Opening) -> None:
    async with opening("allow", OTHER4) as box:
        assert "ok" not in await inside(box, RULES)
        assert await reached(box, TCP4, ("tcp", OTHER4, PORT)) == [False, True]


async def test_rules_change_while_it_runs(opening: Opening) -> None:
    other = ("tcp", OTHER4, PORT)
    async with opening("allow", OPEN4) as box:
        assert await reached(box, TCP4, other) == [True, False]
        await box.set_network(NetworkPolicy("allow", (OTHER4,)))
        assert await reached(box, TCP4, other) == [False, True]
        await box.set_network(NetworkPolicy("none"))
        assert await reached(box, TCP4, other) == [False, False]
        await box.set_network(NetworkPolicy("internet"))
        assert await reached(box, TCP4, other) == [True, True]
    async with opening("none") as box:
        with pytest.raises(Conflict, match="stop it"):
            await box.set_network(NetworkPolicy("internet"))


async def test_rules_survive_stop_and_start(networked: NamespaceBackend) -> None:
    spec = fresh(persistent=True, network=NetworkPolicy("allow", (OPEN4,)))
    try:
        for _ in range(2):
            async with networked.open(spec) as box:
                assert await reached(box, TCP4, ("tcp", OTHER4, PORT)) == [True, False]
        async with networked.open(replace(spec, network=NetworkPolicy())) as box:
            assert await reached(box, TCP4) == [False]
            assert box.addresses == ()
    finally:
        await networked.destroy(spec.id)
