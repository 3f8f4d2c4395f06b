"""Zygotes: what cannot be preloaded is said, the loss of one is survived, none stays behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from atoll.backends.namespace import NamespaceBackend, NamespaceConfig
from atoll.backends.namespace.driver import DEFAULT_UID
from atoll.core.errors import BackendFault, Unavailable
from atoll.jail.spawn import ZygoteConfig, launch
from atoll.testing.backend.running import eventually, first, fresh, program, run, script

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.needs("userns"),
    pytest.mark.blocking("the tests look at processes in /proc"),
]
UID = DEFAULT_UID if os.geteuid() == 0 else None


def descendants(pid: int) -> list[int]:
    """The process and all beneath it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.fixture
def library(tmp_path: Path) -> tuple[Path, str]:
    """A directory of modules, and the place in the image where its python3 looks for them."""
    place = subprocess.run(
        ["/usr/bin/python3", "-c", "import site; print(site.getsitepackages()[0])"],
        capture_output=True, text=True, check=True, timeout=10, cwd="/",
    ).stdout.strip()  # fmt: skip
    if not Path(place).is_dir():
        pytest.skip(f"no {place} to lay modules over")
    path = tmp_path / "library"
    path.mkdir()
    path.chmod(0o755)
    return path, place


async def refused(config: ZygoteConfig) -> str:
    with pytest.raises(Unavailable) as caught:
        async with launch(config):
            pass
    return caught.value.detail


async def test_a_preload_that_is_not_there() -> None:
    assert "nothing_here" in await refused(ZygoteConfig(UID, preload=("json", "nothing_here")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n",
         "threads"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("import sys\nsys.exit(3)\n", "SystemExit"),
        ("def f(:\n", "SyntaxError"),
        ("import os\nos._exit(3)\n", "ended"),
    ],
    ids=["threads", "raises", "exits", "syntax", "dies"],
)  # fmt: skip
async def test_a_preload_that_cannot_be_used(
    library: tuple[Path, str], text: str, said: str
) -> None:
    path, place = library
    (path / "bad_module.py").write_text(text)
    detail = await refused(ZygoteConfig(UID, preload=("bad_module",), binds=((str(path), place),)))
    assert said in detail


async def test_a_preload_is_there_in_every_fork(library: tuple[Path, str], tmp_path: Path) -> None:
    path, place = library
    (path / "good_module.py").write_text("import os\nAT = os.getpid()\n")
    config = NamespaceConfig(
        tmp_path / "data", binds=((str(path), place),), preload=(("good_module",),)
    )
    (tmp_path / "data").mkdir()
    async with NamespaceBackend(config) as backend:
        for _ in range(2):
            spec = fresh(preload=("good_module",))
            async with backend.open(spec) as box:
                text = "import sys; print('good_module' in sys.modules)"
                done = await run(box, program("python3", "-c", text))
                assert done.stdout == b"True\n"


async def test_a_launch_that_is_cancelled_leaves_nothing() -> None:
    before = set(descendants(os.getpid()))
    with anyio.move_on_after(0.02):
        async with launch(ZygoteConfig(UID)):
            await anyio.sleep_forever()
    assert not [pid for pid in descendants(os.getpid()) if pid not in before and alive(pid)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize("which", ["launcher", "maker", "zygote"])
async def test_the_loss_of_a_zygote(data: Path, which: str) -> None:
    """What ran in it is gone, and the next sandbox comes from a new one."""
    async with NamespaceBackend(NamespaceConfig(data)) as backend:
        async with backend.open(fresh()) as box:
            process = await box.start(script("echo on; sleep 60"))
            assert await first(process) == b"on\n"
            (slot,) = backend._zygotes._slots.values()
            family = descendants(slot.zygote.pid)
            os.kill(family[["launcher", "maker", "zygote"].index(which)], signal.SIGKILL)
            with anyio.fail_after(5):
                await process.wait()
            with pytest.raises(BackendFault):
                await box.start(program("true"))
            assert await eventually(lambda: _gone(family[1:]))
        async with backend.open(fresh()) as box:
            assert (await run(box, program("echo", "again"))).stdout == b"again\n"


async def _gone(pids: list[int]) -> bool:
    return not any(alive(pid) for pid in pids)


SERVER = """
import anyio, sys
from pathlib import Path
from atoll.backends.namespace import NamespaceBackend, NamespaceConfig
from atoll.testing.backend.running import first, fresh, script

async def main():
    async with NamespaceBackend(NamespaceConfig(Path(sys.argv[1]))) as backend:
        async with backend.open(fresh()) as one, backend.open(fresh(persistent=True)) as two:
            for box in (one, two):
                process = await box.start(script("setsid sleep 61 & echo on; sleep 60"))
                await first(process)
            print("ready", flush=True)
            await anyio.sleep(60)

anyio.run(main)
"""


@pytest.fixture
def server(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    path = os.pathsep.join(json.loads(json.dumps([place for place in sys.path if place])))
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, str(data)],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path},
    ) as server:  # fmt: skip
        yield server
        server.kill()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_death_of_the_server(server: subprocess.Popen[bytes], number: int) -> None:
    """However it dies, the kernel ends its launchers, zygotes, sandboxes and all in them."""
    assert server.stdout is not None
    assert await anyio.to_thread.run_sync(server.stdout.readline) == b"ready\n"
    family = descendants(server.pid)
    assert len(family) >= 1 + 4 + 2 + 4
    server.send_signal(number)
    await anyio.to_thread.run_sync(server.wait)
    assert await eventually(lambda: _gone(family))
