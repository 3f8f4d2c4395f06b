"""Links and rules come and go whole; what a killed server has left is removed by the next."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio import to_thread

from atoll.core.errors import BackendFault, InvalidRequest
from atoll.core.model import NetworkPolicy
from atoll.network.places import Places, prefix
from atoll.network.uplinks import RootUplinks

pytestmark = [pytest.mark.anyio, pytest.mark.needs("root", "netns", "nft")]

OWNER = "7e57ed0" + "0" * 57
ALL = NetworkPolicy("internet")
KILLED = """
import anyio, os, signal, sys
from pathlib import Path
from atoll.core.model import NetworkPolicy
from atoll.network.uplinks import RootUplinks

async def main():
    uplinks = RootUplinks(sys.argv[1], directory=Path(sys.argv[2]))
    box = os.pidfd_open(int(sys.argv[3]))
    async with uplinks, uplinks.connect("box", box, NetworkPolicy("internet")):
        os.kill(os.getpid(), signal.SIGKILL)

anyio.run(main)
"""


@pytest.fixture
def box() -> Iterator[int]:
    """A process in a network namespace of its own."""
    argv = ["unshare", "--net", sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.fixture
def pidfd(box: int) -> Iterator[int]:
    fd = os.pidfd_open(box)
    yield fd
    os.close(fd)


def said(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True).stdout.decode()


async def leftovers(owner: str) -> list[str]:
    """The links of a server that are there now."""
    shown = await to_thread.run_sync(said, "ip", "-brief", "link")
    return [line for line in shown.splitlines() if line.startswith(prefix(owner))]


async def tables() -> str:
    return await to_thread.run_sync(said, "nft", "list", "tables")


async def links(box: int) -> str:
    inside = f"--net=/proc/{box}/ns/net"
    return await to_thread.run_sync(said, "nsenter", inside, "ip", "-brief", "address")


async def test_an_uplink_comes_and_goes(box: int, pidfd: int, tmp_path: Path) -> None:
    async with RootUplinks(OWNER, directory=tmp_path / "places") as uplinks:
        assert await uplinks.why_not() == ""
        async with uplinks.connect("box", pidfd, ALL) as uplink:
            found = await links(box)
            assert all(address in found for address in uplink.addresses)
            assert len(await leftovers(OWNER)) == 1
            assert "atoll_7e57ed0" in await tables()
        assert await leftovers(OWNER) == []
        assert "eth0" not in await links(box)
        mine = Places(tmp_path / "places", OWNER)
        assert await to_thread.run_sync(mine.left_over) == []
    assert "atoll_7e57ed0" not in await tables()


async def test_two_have_different_places(pidfd: int, tmp_path: Path) -> None:
    """Also when they belong to two servers; the second pair has no room for its name."""
    places = tmp_path / "places"
    other_owner = "0ther00" + "0" * 57
    async with (
        RootUplinks(OWNER, directory=places) as uplinks,
        RootUplinks(other_owner, directory=places) as other,
        uplinks.connect("one", pidfd, ALL),
    ):
        with pytest.raises(BackendFault, match="ip"):
            async with other.connect("two", pidfd, ALL):
                pass
        assert await leftovers(other_owner) == []
        assert len(await leftovers(OWNER)) == 1


async def test_what_a_killed_server_left_is_removed(box: int, pidfd: int, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", KILLED, OWNER, str(tmp_path / "places"), str(box)]
    done = await to_thread.run_sync(lambda: subprocess.run(argv, check=False, timeout=60))
    assert done.returncode == -9
    assert len(await leftovers(OWNER)) == 1
    async with RootUplinks(OWNER, directory=tmp_path / "places") as uplinks:
        assert await uplinks.why_not() == ""
        assert await leftovers(OWNER) == []
        async with uplinks.connect("box", pidfd, ALL):
            assert len(await leftovers(OWNER)) == 1
    assert await leftovers(OWNER) == []


async def test_an_ended_process_gets_none(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    fd = os.pidfd_open(process.pid)
    await to_thread.run_sync(process.wait)
    async with RootUplinks(OWNER, directory=tmp_path / "places") as uplinks:
        with pytest.raises(BackendFault):
            async with uplinks.connect("box", fd, ALL):
                pass
        assert await leftovers(OWNER) == []
    os.close(fd)


async def test_a_bad_policy_makes_nothing(pidfd: int, tmp_path: Path) -> None:
    async with RootUplinks(OWNER, directory=tmp_path / "places") as uplinks:
        with pytest.raises(InvalidRequest):
            async with uplinks.connect("box", pidfd, NetworkPolicy("allow", ("no such",))):
                pass
    mine = Places(tmp_path / "places", OWNER)
    assert await to_thread.run_sync(mine.left_over) == []


@pytest.mark.parametrize("gone", ["delete table", "flush table"])
async def test_rules_that_were_removed_come_back(
    box: int, pidfd: int, tmp_path: Path, gone: str
) -> None:
    listing = ("nft", "list", "table", "inet", f"atoll_{OWNER[:7]}")
    async with RootUplinks(OWNER, directory=tmp_path / "places") as uplinks:
        async with uplinks.connect("box", pidfd, ALL) as uplink:
            before = await to_thread.run_sync(said, *listing)
            remove: tuple[str, ...] = ("nft", *gone.split(), *listing[3:])
            await to_thread.run_sync(lambda: said(*remove))
            assert await uplink.denied() == 0
            assert await to_thread.run_sync(said, *listing) == before
        async with uplinks.connect("box", pidfd, ALL) as uplink:
            assert await uplink.denied() == 0
