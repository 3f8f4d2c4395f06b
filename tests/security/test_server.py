"""What the server knows and keeps: its environment, memory, files, database, descriptors."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.backends.namespace import NamespaceBackend
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import fresh, program, run
from tests.security.probe import inside, outside

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

SECRET = "ATOLL_SECRET_OF_THE_TEST"
HUNT = f"""
found = []
for pid in ["self", "1", "2", "3", *{{range_}}]:
    for name in ("environ", "cmdline", "maps", "mem", "fd", "cwd", "root", "task/1/environ"):
        path = f"/proc/{{{{pid}}}}/{{{{name}}}}"
        try:
            if "{SECRET}" in text(path):
                found.append(path)
        except OSError:
            continue
tell([found, "{SECRET}" in os.environ, len(os.environ)])
"""


@pytest.fixture
def secret_environment(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(SECRET, "hunter2")
    return SECRET


@pytest.fixture
def host_process() -> Iterator[int]:
    """A process of the server's user that has the secret in its environment."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(30)"],
        env={SECRET: "hunter2"}, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    process.kill()
    process.stdout.close()
    process.wait()


async def test_the_servers_environment_is_not_read(
    box: Sandbox, host_process: int, secret_environment: str
) -> None:
    text = HUNT.format(range_=[str(host_process), str(os.getpid())])
    found, own, size = await inside(box, text)
    assert (found, own) == ([], False)
    assert size < 20
    found, own, _ = await outside(text, env={SECRET: "hunter2"})
    assert own
    assert f"/proc/{host_process}/environ" in found


async def test_the_environment_of_an_execd_program_is_built_from_nothing(
    backend: NamespaceBackend, secret_environment: str
) -> None:
    async with backend.open(fresh(env={"MINE": "1"})) as box:
        for _ in range(2):
            done = await run(box, program("env"))
            names = set(re.findall(rb"^(\w+)=", done.stdout, re.MULTILINE))
            assert b"MINE" in names
            assert names <= {
                b"MINE", b"PATH", b"HOME", b"USER", b"LOGNAME", b"SHELL", b"LANG",
                b"PYTHONUNBUFFERED", b"PWD", b"_", b"SHLVL",
            }  # fmt: skip


async def test_the_servers_files_are_not_found(box: Sandbox, tmp_path: Path) -> None:
    database = tmp_path / "atoll.db"
    database.write_text("SQLite format 3 secret")
    database.chmod(0o644)
    source = Path(__file__).resolve()
    probe = f"""
tell([attempt(text, {str(database)!r}), os.path.exists({str(source)!r}),
      attempt(text, "/proc/self/root" + {str(database)!r}),
      attempt(text, "/proc/self/cwd/../../../.." + {str(database)!r})])
"""
    assert await inside(box, probe) == ["ENOENT", False, "ENOENT", "ENOENT"]
    assert (await outside(probe))[0].startswith("SQLite")


async def test_the_data_directory_is_not_found(backend: NamespaceBackend, box: Sandbox) -> None:
    """Neither by name nor as a mount; a kept sandbox is an overlay out of it."""
    place = backend._root
    probe = f"""
seen = [p for p in ("/mnt", "/srv", "/media", "/root", "/opt") if attempt(os.listdir, p) == "ok"
        and os.listdir(p) and p != "/opt"]
tell([os.path.exists({str(place)!r}), {str(place)!r} in text("/proc/self/mountinfo"), seen])
"""
    exists, mounted, seen = await inside(box, probe)
    assert (exists, mounted) == (False, False)
    assert [p for p in seen if p != "/srv"] == []
    assert (await outside(probe))[0] is (os.access(place, os.R_OK) or os.geteuid() == 0)


MEMORY = """
import re
needle = re.compile(b"ATOLL_[N]EEDLE_%s")  # which does not match itself
hits = 0
with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as mem:
    for line in maps:
        first, mode = line.split()[:2]
        low, high = (int(x, 16) for x in first.split("-"))
        if mode[0] == "r" and high - low < 1 << 28 and "[v" not in line:
            try:
                mem.seek(low)
                hits += bool(needle.search(mem.read(high - low)))
            except (OSError, ValueError, OverflowError):
                continue
tell(hits)
"""


async def test_the_servers_memory_is_not_inherited(box: Sandbox, secret_environment: str) -> None:
    """The warm interpreter is not forked from the server: what the server knows is not in it."""
    held = b"ATOLL_" + b"NEEDLE_" + b"server"
    assert await inside(box, MEMORY % "server") == 0
    assert held.endswith(b"server")
    again = (MEMORY % "own").replace(
        "hits = 0", "own = b''.join([b'ATOLL_', b'NEEDLE_own'])\nhits = 0"
    )
    assert await inside(box, again) > 0


async def test_another_sandboxs_memory_is_not_inherited(backend: NamespaceBackend) -> None:
    plant = "held = [b''.join([b'ATOLL_', b'NEEDLE_', b'other', b'%d' % n]) for n in range(9999)]"
    async with backend.open(fresh()) as other:
        assert await inside(other, plant + "\n" + MEMORY % "other") > 0
        async with backend.open(fresh()) as box:
            assert await inside(box, MEMORY % "other") == 0
