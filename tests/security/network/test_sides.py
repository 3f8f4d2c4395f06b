"""Rules stand on both sides of a link, and each side alone keeps what the policy keeps away.

A side is taken away by the host's administrator, which no guest is. What that does is not given to
worker threads: these may be from before this thread was on the tests' host.
"""

import json
import re
import socket
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from atoll.backends.namespace.sandbox import NamespaceSandbox
from atoll.network.places import prefix
from atoll.testing.backend.running import python
from tests.security.network.conftest import OWNER, Opening
from tests.security.network.outside import OPEN4, OTHER4, PORT
from tests.security.network.test_reach import LISTEN, TCP4, gateway, pytestmark, reached
from tests.security.probe import HOST_PYTHON, PRELUDE, inside, program

__all__ = ["pytestmark"]
OTHER = ("tcp", OTHER4, PORT)
TABLE = f"atoll_{OWNER[:7]}"
ALL = "100.64.0.0/10"


def ran(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, (argv, done.stderr)
    return done.stdout


def within(box: NamespaceSandbox) -> tuple[str, ...]:
    """What runs a program of the host's in the sandbox's network, as its administrator."""
    fields = Path(f"/proc/self/fdinfo/{box.pidfd}").read_text().split()
    return ("nsenter", f"--net=/proc/{fields[fields.index('Pid:') + 1]}/ns/net")


def flush(box: NamespaceSandbox) -> tuple[str, ...]:
    """Take the sandbox's own side away."""
    enter = within(box)
    ran(*enter, "nft", "flush", "ruleset")
    return enter


def open_host(box: NamespaceSandbox) -> None:
    """Take the host's side away."""
    links = ran("ip", "-o", "-4", "address")
    link = re.search(rf"({re.escape(prefix(OWNER))}(\d+))\s+inet {gateway(box)}/", links)
    assert link is not None, links
    ran("nft", "insert", "rule", "inet", TABLE, f"on{link[2]}", "accept")


@pytest.fixture
async def box(opening: Opening) -> AsyncGenerator[NamespaceSandbox, None]:
    async with opening("allow", OPEN4) as box:
        yield box


async def test_the_hosts_rules_are_enough(box: NamespaceSandbox) -> None:
    flush(box)
    assert await reached(box, TCP4, OTHER) == [True, False]


async def test_the_sandboxs_rules_are_enough(box: NamespaceSandbox) -> None:
    open_host(box)
    assert await reached(box, TCP4, OTHER) == [True, False]
    flush(box)  # now there is neither
    assert await reached(box, TCP4, OTHER) == [True, True]


FROM = """
def ask(source):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(2)
        sock.bind((source, 0))
        sock.connect((%r, %d))
        sock.send(b"who am I?")
        return "reached" if sock.recv(100) else "nothing"
tell([attempt(ask, source) for source in %r])
"""


async def test_the_host_takes_no_other_source_address(box: NamespaceSandbox) -> None:
    enter = flush(box)
    other = "100.127.0.9"
    ran(*enter, "ip", "address", "add", f"{other}/32", "dev", "eth0")
    own = box.addresses[0]
    told = ran(*enter, HOST_PYTHON, "-c", program(FROM % (OPEN4, PORT, [own, other])))
    said = json.loads(told)
    assert said[0] == "reached"
    assert said[1] != "reached"


async def test_the_host_connects_no_two_sandboxes(opening: Opening) -> None:
    """Not even two that list each other, when the one's own side lets everything in."""
    async with opening("allow", ALL) as victim, opening("allow", ALL) as box:
        process = await victim.start(python(PRELUDE + LISTEN))
        async for _ in process.output():
            break
        flush(victim)
        address = (victim.addresses[0], 7000)

        def from_host() -> bytes:
            with socket.create_connection(address, 5) as sock:
                return sock.recv(10)

        assert from_host() == b"a.b"
        assert await reached(box, ("tcp", *address)) == [False]


async def test_a_guest_is_not_the_administrator_of_its_network(box: NamespaceSandbox) -> None:
    """What these tests do by being root on the host, the same programs do not do inside."""
    act = """
import subprocess
argv = %r
tell(attempt(lambda: subprocess.run(argv, capture_output=True, timeout=9).returncode))
"""
    argv = ["/usr/sbin/nft", "list", "ruleset"]
    assert await inside(box, act % argv) != 0
    enter = within(box)
    assert "table inet atoll" in ran(*enter, "nft", "list", "ruleset")
