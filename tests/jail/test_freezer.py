import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from atoll.core.errors import BackendFault
from atoll.jail.cgroups import Hierarchy
from atoll.jail.freezer import Freezer

pytestmark = pytest.mark.anyio

PLACES = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))


@pytest.mark.needs("root")
def test_a_group_of_version_2_stands_still(tmp_path: Path) -> None:
    """The machine's own sandboxes use version 1 where it has that; the contract proves those."""
    root = next((place for place in PLACES if (place / "cgroup.procs").is_file()), None)
    if root is None:
        pytest.skip("no cgroup v2 is mounted")
    base = root / f"atoll-test-{tmp_path.name}"
    group = base / "one"
    group.mkdir(parents=True)
    ticking = "import time\nwhile True: print(1, flush=True); time.sleep(0.01)"
    program = subprocess.Popen(["/usr/bin/python3", "-c", ticking], stdout=subprocess.PIPE)
    try:
        (group / "cgroup.procs").write_text(str(program.pid))
        freezer = Freezer(Hierarchy(2, {"pids": base}, freezer=base), "one")
        anyio.run(freezer.freeze)
        assert "frozen 1" in (group / "cgroup.events").read_text()
        freezer.thaw()
        assert _soon(lambda: "frozen 0" in (group / "cgroup.events").read_text())
    finally:
        program.kill()
        program.communicate()
        assert _soon(lambda: _removed(group) and _removed(base))


def _soon(done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not done() and time.monotonic() < deadline:
        time.sleep(0.01)  # waits on purpose: for the kernel
    return done()


def _removed(place: Path) -> bool:
    with contextlib.suppress(OSError):
        place.rmdir()
    return not place.exists()


async def test_without_one_it_says_so() -> None:
    freezer = Freezer(Hierarchy(0), "one")
    assert not freezer.there
    with pytest.raises(BackendFault):
        await freezer.freeze()
    freezer.thaw()
