"""What a worker without namespaces cannot reach, though a guest has broken the engine in it.

The engine of these workers is broken from the beginning: it runs its module's first argument as
Python, with all that the worker's process can do.
"""

import json
import os
import tempfile
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from atoll.backends.plain import PlainBackend, PlainConfig
from atoll.bootstrap import backends_of
from atoll.core.errors import InvalidRequest
from atoll.core.model import MIB, ExitReason, Limits, ProcessSpec
from atoll.core.ports import Sandbox
from atoll.settings import Settings, SettingsError
from atoll.testing.backend.running import first, fresh, program, run
from tests.security import probe

pytestmark = pytest.mark.anyio

UID = 0x70000000
RUNNER = "/opt/atoll/bin/atoll-wasm"
BROKEN_ENGINE = """
import os

class WasmtimeError(Exception):
    pass

class Trap(Exception):
    pass

class ExitTrap(WasmtimeError):
    pass

class Thing:
    def __init__(self, *given, **more):
        pass
    def __getattr__(self, name):
        return lambda *given, **more: None

Config = Engine = WasiConfig = FuncType = Module = Func = Thing

class ValType:
    i32 = staticmethod(lambda: None)

class Store(Thing):
    def set_wasi(self, wasi):
        self.wasi = wasi

class Linker(Thing):
    def instantiate(self, store, module):
        exec(store.wasi.argv[1], {"__name__": "guest"})
        os._exit(0)

wat2wasm = lambda text: b"\\0asm\\1\\0\\0\\0"
"""
REFUSED = ("EPERM", "EACCES", "ENOSYS", "EXDEV")


def broken(library: Path) -> None:
    (library / "wasmtime").mkdir()
    (library / "wasmtime" / "__init__.py").write_text(BROKEN_ENGINE)
    (library / "wasmtime" / "component.py").write_text("from wasmtime import Thing as Linker\n")


@pytest.fixture(scope="module")
async def workers(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[PlainBackend, None]:
    place = Path(tmp_path_factory.mktemp("workers"))
    broken(place)
    async with PlainBackend(PlainConfig(place, UID, place)) as backend:
        yield backend


@pytest.fixture
async def box(workers: PlainBackend) -> AsyncGenerator[Sandbox, None]:
    async with workers.open(fresh()) as box:
        yield box


@pytest.fixture
def outside() -> Iterator[Path]:
    """A directory on the host that everybody may write to, and a file in it."""
    with tempfile.TemporaryDirectory(prefix="atoll-outside-") as place:
        Path(place).chmod(0o777)
        (Path(place) / "file").write_text("outside")
        yield Path(place)


def spec(code: str, **fields: Any) -> ProcessSpec:
    argv = (RUNNER, "m.wat", probe.program(code))
    return ProcessSpec(argv, files={"m.wat": b"(module)"}, wall_s=10.0, **fields)


async def tells(box: Sandbox, code: str, **fields: Any) -> Any:
    """What the code tells from inside of a worker."""
    done = await run(box, spec(code, **fields))
    assert done.stdout.strip(), (done.exit, done.stderr.decode(errors="replace"))
    return json.loads(done.stdout.splitlines()[-1])


async def test_a_worker_can_use_its_directory(box: Sandbox) -> None:
    code = """
put("own", "mine"); os.mkdir("deep"); put("deep/er"); os.rename("deep/er", "moved")
os.symlink("own", "link"); os.unlink("moved")
tell([text("own"), text("link"), sorted(os.listdir("."))])
"""
    assert await tells(box, code) == ["mine", "mine", ["deep", "link", "m.wat", "own"]]


@pytest.mark.needs("landlock")
@pytest.mark.parametrize(
    "act",
    [
        "tell(attempt(text, '/etc/passwd'))",
        "tell(attempt(os.listdir, '/'))",
        "tell(attempt(text, '/proc/self/environ'))",
        "tell(attempt(text, '{outside}/file'))",
        "tell(attempt(put, '{outside}/new'))",
        "tell(attempt(put, '{outside}/file'))",
        "tell(attempt(os.mkdir, '{outside}/directory'))",
        "tell(attempt(os.symlink, 'x', '{outside}/link'))",
        "tell(attempt(os.unlink, '{outside}/file'))",
        "tell(attempt(os.rename, '{outside}/file', '{outside}/other'))",
        "tell(attempt(os.truncate, '{outside}/file', 0))",
    ],
)
async def test_no_file_beyond_it(box: Sandbox, outside: Path, act: str) -> None:
    act = act.replace("{outside}", str(outside))
    assert await tells(box, act) in REFUSED
    assert (outside / "file").read_text() == "outside"
    assert await probe.outside(act) not in REFUSED


@pytest.mark.needs("landlock")
async def test_a_link_leads_no_worker_out(box: Sandbox, outside: Path) -> None:
    act = f"os.symlink('{outside}/file', 'l'); tell(attempt(text, 'l'))"
    assert await tells(box, act) in REFUSED
    with tempfile.TemporaryDirectory(prefix="atoll-link-") as place:
        assert await probe.outside(f"os.chdir({place!r})\n{act}") == "outside"


async def test_no_file_of_another_sandbox(workers: PlainBackend, box: Sandbox) -> None:
    async with workers.open(fresh()) as other:
        await other.files.write("secret", b"secret", mode=0o666)
        act = "tell(attempt(text, '../../%s/workspace/secret'))"
        assert await tells(box, act % other.id) in REFUSED
        assert await tells(other, "tell(text('secret'))") == "secret"
        assert await tells(other, "tell(text('../workspace/secret'))") == "secret"


@pytest.mark.parametrize(
    "act",
    [
        "tell(attempt(lambda: socket.socket(socket.AF_INET)))",
        "tell(attempt(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)))",
        "tell(attempt(lambda: socket.socket(socket.AF_UNIX)))",
        "tell(attempt(socket.socketpair))",
        "tell(attempt(lambda: os.fork() or os._exit(0)))",
        "tell(attempt(lambda: os.posix_spawn('/bin/true', ['true'], {})))",
        "os.set_inheritable(1, True); tell(attempt(os.execv, '/bin/echo', ['echo', '\"ran\"']))",
        "tell(attempt(os.kill, os.getppid(), 0))",
        "tell(attempt(os.kill, os.getpid(), 0))",
        "tell(attempt(os.pidfd_open, os.getppid()))",
        "tell(call({ptrace}, 0))",
        "tell(attempt(os.memfd_create, 'm'))",
    ],
)
async def test_nobody_else_is_reached_or_started(box: Sandbox, act: str) -> None:
    assert await tells(box, act) in REFUSED
    assert await probe.outside(act) not in REFUSED


async def test_a_worker_has_threads(box: Sandbox) -> None:
    """The other half of what clone is refused: the engine needs them."""
    code = "import _thread\nl = _thread.allocate_lock(); l.acquire()\n"
    assert await tells(box, code + "_thread.start_new_thread(l.release, ()); l.acquire(); tell(1)")


async def test_a_worker_has_no_rights_and_nothing_of_the_server(
    workers: PlainBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOLL_TEST_SECRET", "of the server")
    code = """
names = [name for name in os.environ if name.startswith("A")]
tell([os.getuid(), os.getgroups(), names, call({prctl}, 1, 0)])
"""
    async with workers.open(fresh()) as box:
        uid, groups, names, undying = await tells(box, code)
    assert uid == (UID if os.geteuid() == 0 else os.geteuid())
    assert groups == [] or os.geteuid() != 0
    assert names == []
    assert undying == "EPERM"  # its death with its parent's stays


async def test_memory_is_bounded(workers: PlainBackend) -> None:
    code = f"tell('more') if bytearray({400 * MIB}) else None"
    async with workers.open(fresh(limits=Limits(memory_bytes=64 * MIB))) as box:
        done = await run(box, spec(code))
        assert (done.stdout, done.exit.reason) == (b"", ExitReason.MEMORY)
        assert done.stderr.startswith(b"MemoryError")
    async with workers.open(fresh(limits=Limits(memory_bytes=512 * MIB))) as box:
        assert await tells(box, code) == "more"


async def test_many_files_are_counted(workers: PlainBackend) -> None:
    code = "import time\nfor n in range(%d): put(f'f{n}')\ntell('all'); time.sleep(%d)"
    async with workers.open(fresh(limits=Limits(disk_files=50))) as box:
        assert (await run(box, spec(code % (100, 8)))).exit.reason is ExitReason.DISK
        await box.files.remove("/workspace", recursive=True)
        await box.files.mkdir("/workspace")
        assert await tells(box, code % (10, 0)) == "all"


async def test_the_deadline_ends_all_its_threads(box: Sandbox) -> None:
    code = "import _thread, time\n_thread.start_new_thread(time.sleep, (9,))\ntime.sleep(9)"
    process = await box.start(spec(code))
    await process.signal(9)
    with anyio.fail_after(5):
        assert (await process.wait()).reason is ExitReason.SIGNAL
    assert not Path(f"/proc/{process.pid}").exists()


async def test_workers_end_with_their_launcher(tmp_path: Path) -> None:
    broken(tmp_path)
    async with PlainBackend(PlainConfig(tmp_path, UID, tmp_path)) as backend:
        async with backend.open(fresh()) as box:
            process = await box.start(spec("tell(os.getppid()); time.sleep(9)"))
            os.kill(int(await first(process)), 9)
            with anyio.fail_after(5):
                assert await box.ended() == "crash"
                assert (await process.wait()).code is None
                while Path(f"/proc/{process.pid}").exists():
                    await anyio.sleep(0.01)  # waits on purpose: the kernel tells nobody
        async with backend.open(fresh()) as box:
            assert await tells(box, "tell('again')") == "again"


@pytest.mark.parametrize("word", ["sh", "/bin/sh", "python3", "/usr/bin/python3", "./m.wat"])
async def test_nothing_native_runs(box: Sandbox, word: str) -> None:
    await box.files.write("m.wat", b"#!/bin/sh\necho ran\n", mode=0o755)
    with pytest.raises(InvalidRequest):
        await box.start(program(word, "-c", "print('ran')"))


def test_it_is_no_backend_that_an_operator_can_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="plain"):
        backends_of(Settings(data_dir=tmp_path, backends=("plain",)))
    assert backends_of(Settings(data_dir=tmp_path, backends=("wasm",)))
