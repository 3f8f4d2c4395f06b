"""Whatever ends the server, the next one has all that was acknowledged and nothing is left over."""

import contextlib
import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atoll.client import Atoll, AtollError, Finished, Output, Started
from tests.e2e import leftovers
from tests.e2e.server import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.needs("userns")]

KILLS = 8


def test_a_restart_keeps_sandboxes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as server, Atoll(server.url) as atoll:
        box = atoll.sandboxes.create(name="kept", labels={"team": "reef"}, env={"COLOUR": "blue"})
        limits = box.info.limits
        box.files.write("a/b.txt", b"\x00deep\xff")
        box.exec("echo $COLOUR > colour; chmod 600 colour")
        process = box.processes.start("printf 'one\\ntwo\\n'; exit 5")
        assert process.wait().exit_code == 5
        snapshot = box.snapshot(name="early")
        box.files.write("a/b.txt", b"later")
        assert server.stop(signal.SIGTERM) == 0
    with serving(data) as server, Atoll(server.url) as atoll:
        box = atoll.sandboxes.get("kept")
        assert (box.info.state, box.info.labels) == ("stopped", {"team": "reef"})
        assert box.files.read("a/b.txt") == b"later"
        assert box.exec("cat colour; stat -c %a colour; echo $COLOUR").stdout == "blue\n600\nblue\n"
        old = box.processes.get(process.pid)
        assert [e.data for e in old.output() if isinstance(e, Output)] == [b"one\ntwo\n"]
        later = list(old.output(position="4"))
        assert [e.data for e in later if isinstance(e, Output)] == [b"two\n"]
        assert [e.exit.exit_code for e in later if isinstance(e, Finished)] == [5]
        assert box.info.limits == limits
        with atoll.sandboxes.create(base=snapshot.id) as copy:
            assert copy.files.read("a/b.txt") == b"\x00deep\xff"
        assert server.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_runs_is_ended_only_after_it_was_awaited(tmp_path: Path, number: int) -> None:
    with serving(tmp_path / "data") as server, Atoll(server.url) as atoll:
        with ThreadPoolExecutor() as threads:
            stream = atoll.execute_stream("sh", "echo begun; sleep 1; echo ended")
            assert isinstance(next(stream), Started)
            rest = threads.submit(list, stream)
            assert server.stop(number) == 0
            events = rest.result(10)
    said = b"".join(e.data for e in events if isinstance(e, Output))
    assert said == b"begun\nended\n"
    assert isinstance(events[-1], Finished)


def test_two_servers_do_not_share_a_directory(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server, Atoll(server.url) as atoll:
        with pytest.raises(AssertionError, match="Another server uses"), serving(tmp_path / "data"):
            pytest.fail("A second server runs on the same directory.")
        assert atoll.execute("python", "print(1)").stdout == "1\n"


def _work(url: str, kept: dict[str, bytes], gone: set[str], seed: int) -> None:
    """Create, write, run, stop, fork, snapshot, delete, until the server is no more."""
    chance = random.Random(seed)
    with contextlib.suppress(AtollError, OSError), Atoll(url) as atoll:
        for turn in range(10_000):
            box = atoll.sandboxes.create()
            content = os.urandom(64) * chance.randrange(1, 2000)
            box.files.write("file", content)
            kept[box.id] = content
            box.exec("true; (setsid sleep 1000 &) ; echo x > y")
            if turn % 4 == 1:
                box.stop()
            elif turn % 4 == 2:
                copy = box.fork(force=True)
                kept[copy.id] = content
            elif turn % 4 == 3:
                box.snapshot(force=True)
                kept.pop(box.id)  # from here to the answer it may be there or not
                box.destroy()
                gone.add(box.id)


def test_kill_9_at_any_moment(tmp_path: Path) -> None:
    data = tmp_path / "data"
    mounts = leftovers.mounts()
    pids: set[int] = set()
    kept: dict[str, bytes] = {}
    gone: set[str] = set()
    chance = random.Random(7)
    for turn in range(KILLS):
        with serving(data) as server:
            worker = threading.Thread(target=_work, args=(server.url, kept, gone, turn))
            worker.start()
            time.sleep(0.1 + chance.random())  # waits on purpose: a random moment
            pids |= leftovers.descendants(server.process.pid)
            server.process.kill()
            server.process.wait(10)
            worker.join(30)
            assert not worker.is_alive()
        leftovers.wait_until_gone(pids)
    with serving(data) as server, Atoll(server.url) as atoll:
        found = {box.id: box for box in atoll.sandboxes.list()}
        for sandbox_id, content in kept.items():
            assert atoll.sandboxes.get(sandbox_id).files.read("file") == content
        assert not gone & set(found)
        leftovers.check_directory(data, set(found))
        pids |= leftovers.descendants(server.process.pid)
        assert server.stop(signal.SIGTERM) == 0
    leftovers.check_ended(data, pids, mounts)


def test_nothing_leaks(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server, Atoll(server.url) as atoll:
        _cycle(atoll, 5)
        before = leftovers.Leftovers.of(server.process.pid)
        groups = leftovers.groups(tmp_path / "data")
        _cycle(atoll, 50)
        before.wait_for_no_more_than(server.process.pid)
        leftovers.wait_for_groups(tmp_path / "data", groups)


def _cycle(atoll: Atoll, count: int) -> None:
    for turn in range(count):
        with atoll.sandboxes.create() as box:
            box.files.write("x", b"y" * 1000)
            assert box.exec("cat x").ok
        for _ in range(6):
            assert atoll.execute("python", f"print({turn})").ok
