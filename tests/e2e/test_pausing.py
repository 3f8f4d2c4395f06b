"""Pausing through the whole server, on the real freezer."""

import signal
import time
from pathlib import Path

import pytest

from atoll.client import Atoll, Conflict, Unsupported
from tests.e2e.server import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.needs("userns")]

SLEEPER = ["sleep", "314.159"]


def _sleepers() -> int:
    count = 0
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += place.read_bytes() == b"sleep\x00314.159\0"
        except OSError:
            continue
    return count


def _can(atoll: Atoll) -> bool:
    return "pause" in next(b for b in atoll.backends() if b.name == "namespace").capabilities


def test_pausing_or_a_clear_refusal(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server, Atoll(server.url) as atoll:
        box = atoll.sandboxes.create(name="box")
        if not _can(atoll):
            with pytest.raises(Unsupported, match="cannot pause"):
                box.pause()
            assert box.exec("echo fine").stdout == "fine\n"
            return
        process = box.processes.start("echo on; sleep 0.3; echo over")
        assert box.pause().state == "paused"
        with pytest.raises(Conflict, match="resume it first"):
            box.exec("true")
        time.sleep(0.6)  # waits on purpose: longer than the program would run
        assert process.refresh().exit is None
        assert box.resume().state == "running"
        assert process.wait().exit_code == 0


def test_what_was_frozen_does_not_outlive_a_killed_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as server, Atoll(server.url) as atoll:
        if not _can(atoll):
            return  # the test above has seen the refusal
        box = atoll.sandboxes.create(name="box")
        box.files.write("kept", b"1")
        box.processes.start(SLEEPER)
        box.pause()
        server.stop(signal.SIGKILL)
    with serving(data) as server, Atoll(server.url) as atoll:
        box = atoll.sandboxes.get("box")
        assert box.info.state == "stopped"
        deadline = time.monotonic() + 20
        while _sleepers() and time.monotonic() < deadline:
            time.sleep(0.05)  # waits on purpose: for the kernel to end them
        assert _sleepers() == 0
        assert box.files.read("kept") == b"1"
        box.destroy()
