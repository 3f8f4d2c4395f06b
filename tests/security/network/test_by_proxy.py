"""The proxy at the host's end: what policies list by name, and nothing else."""

import pytest

from atoll.core.model import NetworkPolicy
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import run, script
from tests.security.network.conftest import Opening
from tests.security.network.outside import METADATA, OPEN4, OTHER4, PORT, SECOND
from tests.security.probe import inside

pytestmark = [pytest.mark.anyio, pytest.mark.needs("root", "userns", "netns", "nft", "ipv6")]

BY_PROXY = """
def ask(target):
    with socket.create_connection(("100.127.255.53", 3128), 4) as sock:
        sock.settimeout(6)
        sock.sendall(b"CONNECT " + target.encode() + b" HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
        head = b""
        while b"\\r\\n\\r\\n" not in head:
            more = sock.recv(1000)
            if not more:
                return "closed"
            head += more
        status = head.split()[1].decode()
        if status != "200":
            return status
        sock.sendall(b"hello")
        rest = head.partition(b"\\r\\n\\r\\n")[2] or sock.recv(100)
        return "reached" if rest else "nothing"
said = []
for target in %r:
    try:
        said.append(ask(target))
    except OSError as error:
        said.append("refused")
tell(said)
"""


async def by_proxy(box: Sandbox, *targets: str) -> list[str]:
    said: list[str] = await inside(box, BY_PROXY % (list(targets),))
    return said


async def test_what_is_listed_and_nothing_else(opening: Opening) -> None:
    async with opening("allow", f"good.example.net:{PORT} {OTHER4}:{PORT}") as box:
        assert await by_proxy(
            box, f"good.example.net:{PORT}", f"{OTHER4}:{PORT}", f"good.example.net:{SECOND}",
            f"other.example.net:{PORT}", f"{OPEN4}:{PORT}", f"{METADATA}:80",
        ) == ["reached", "reached", "403", "403", "403", "403"]  # fmt: skip


async def test_a_name_does_not_lead_to_metadata_or_neighbours(opening: Opening) -> None:
    targets = f"rebound.example.net:{PORT}", f"inner.example.net:{PORT}"
    async with opening("allow", "*.example.net") as box:
        assert await by_proxy(box, *targets) == ["403", "403"]
    async with opening("allow", "*.example.net 10.99.7.0/24 169.254.169.254") as box:
        assert await by_proxy(box, *targets) == ["reached", "reached"]


async def test_the_host_is_not_reached_even_when_it_is_listed(opening: Opening) -> None:
    async with opening("allow", "*.example.net 10.99.0.1 127.0.0.1") as box:
        assert await by_proxy(box, "10.99.0.1:22", "127.0.0.1:22", "localhost:22") == [
            "502", "403", "403",
        ]  # fmt: skip


async def test_there_is_none_for_policies_without_names(opening: Opening) -> None:
    async with opening("internet") as box:
        assert await by_proxy(box, f"{OPEN4}:{PORT}") == ["refused"]
        await box.set_network(NetworkPolicy("allow", (f"good.example.net:{PORT}",)))
        assert await by_proxy(box, f"good.example.net:{PORT}") == ["reached"]
        await box.set_network(NetworkPolicy("allow", (OPEN4,)))
        assert await by_proxy(box, f"good.example.net:{PORT}") == ["refused"]


async def test_refusals_are_counted(opening: Opening) -> None:
    async with opening("allow", "good.example.net") as box:
        before = await box.denied()
        await by_proxy(box, f"other.example.net:{PORT}", f"{METADATA}:80")
        assert await box.denied() == before + 2


async def test_programs_are_told_of_it(opening: Opening) -> None:
    async with opening("allow", "good.example.net") as box:
        told = await run(box, script("echo $http_proxy $HTTPS_PROXY $no_proxy"))
        proxy = "http://100.127.255.53:3128"
        assert told.stdout.decode().split() == [proxy, proxy, "localhost,127.0.0.1,::1"]
    async with opening("allow", OPEN4) as box:
        assert (await run(box, script("echo $http_proxy"))).stdout == b"\n"
