"""Names in a policy: what a guest may ask for, and what it reaches by the answers."""

import pytest

from atoll.core.model import NetworkPolicy
from atoll.core.ports import Sandbox
from tests.security.network.conftest import Opening
from tests.security.network.outside import OPEN4, OTHER4, PORT, SECOND
from tests.security.probe import inside

pytestmark = [pytest.mark.anyio, pytest.mark.needs("root", "userns", "netns", "nft", "ipv6")]

BY_NAME = """
def reach(host, port):
    with socket.create_connection((host, port), 4) as sock:
        return "reached" if sock.recv(100) else "nothing"
said = []
for host, port in %r:
    try:
        said.append(reach(host, port))
    except socket.gaierror:
        said.append("unknown")
    except OSError:
        said.append("refused")
tell(said)
"""


async def by_name(box: Sandbox, *targets: tuple[str, int]) -> list[str]:
    said: list[str] = await inside(box, BY_NAME % (list(targets),))
    return said


async def test_an_allowed_name_is_reached_and_only_by_its_name(opening: Opening) -> None:
    async with opening("allow", "good.example.net") as box:
        assert await by_name(box, (OPEN4, PORT)) == ["refused"]
        assert await by_name(
            box, ("good.example.net", PORT), (OPEN4, SECOND), ("other.example.net", PORT),
            ("www.good.example.net", PORT), (OTHER4, PORT),
        ) == ["reached", "reached", "unknown", "unknown", "refused"]  # fmt: skip


async def test_a_name_with_a_port(opening: Opening) -> None:
    async with opening("allow", f"*.example.net:{PORT}") as box:
        targets = ("good.example.net", PORT), ("good.example.net", SECOND), (OPEN4, PORT)
        assert await by_name(box, *targets) == ["reached", "refused", "reached"]


async def test_a_name_does_not_lead_to_metadata_or_neighbours(opening: Opening) -> None:
    targets = ("rebound.example.net", PORT), ("inner.example.net", PORT)
    async with opening("allow", "*.example.net") as box:
        assert await by_name(box, *targets) == ["unknown", "unknown"]
    async with opening("internet") as box:
        assert await by_name(box, *targets) == ["unknown", "unknown"]
    async with opening("allow", "*.example.net 10.99.7.0/24 169.254.169.254") as box:
        assert await by_name(box, *targets) == ["reached", "reached"]


async def test_the_internet_has_names_but_not_denied_ones(opening: Opening) -> None:
    async with opening("internet", "", "other.example.net") as box:
        targets = ("good.example.net", PORT), ("other.example.net", PORT)
        assert await by_name(box, *targets) == ["reached", "unknown"]


async def test_another_policy_forgets_what_was_answered(opening: Opening) -> None:
    async with opening("allow", "good.example.net") as box:
        assert await by_name(box, ("good.example.net", PORT)) == ["reached"]
        await box.set_network(NetworkPolicy("allow", ("other.example.net",)))
        targets = (OPEN4, PORT), ("good.example.net", PORT), ("other.example.net", PORT)
        assert await by_name(box, *targets) == ["refused", "unknown", "reached"]


DIRECT = """
def ask(server):
    name = b"".join(bytes([len(p)]) + p for p in b"good.example.net".split(b".")) + b"\\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        sock.connect((server, %d))
        sock.send(b"\\x12\\x34\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + name + b"\\0\\1\\0\\1")
        return "told" if len(sock.recv(512)) > 40 else "nothing"
tell([attempt(ask, server) for server in %r])
"""


async def test_other_name_servers_are_not_reached(opening: Opening) -> None:
    async with opening("allow", "good.example.net") as box:
        said = await inside(box, DIRECT % (53, ["100.127.255.53", OPEN4, "10.99.0.2"]))
        assert said[0] == "told"
        assert "told" not in said[1:]


JUNK = """
import os
sent = 0
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect(("100.127.255.53", 53))
    for size in list(range(0, 64)) + [512, 1400, 9000]:
        try:
            sock.send(os.urandom(size))
            sent += 1
        except OSError:
            pass
with socket.create_connection(("100.127.255.53", 53), 4) as sock:
    sock.sendall(b"\\xff\\xff" + os.urandom(1000))
tell(sent > 50)
"""


async def test_junk_does_not_stop_the_answers(opening: Opening) -> None:
    async with opening("allow", "good.example.net") as box:
        assert await inside(box, JUNK) is True
        assert await by_name(box, ("good.example.net", PORT)) == ["reached"]
