"""The client's file operations, while the guest plants links, races and odd things in their way."""

import tempfile
from collections.abc import AsyncGenerator, Awaitable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from atoll.backends.namespace import NamespaceBackend
from atoll.core.errors import AtollError, BackendFault, InvalidRequest, NotFound
from atoll.core.model import FileKind
from atoll.core.ports import Process, Sandbox
from atoll.testing.backend.running import first, names, program, read, run
from tests.security.probe import inside
from tests.security.test_resources import small

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

T = TypeVar("T")
SECRET = b"a secret of the host"


@pytest.fixture
def host_file() -> Iterator[Path]:
    """A file that everybody on the host may read and write, so that only the jail is in the way."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        file = Path(place) / "secret"
        file.write_bytes(SECRET)
        file.chmod(0o666)
        yield file


async def tried(act: Awaitable[T]) -> T | None:
    """What it gives, or None when it is refused: soon, and not as a fault of ours."""
    try:
        with anyio.fail_after(5):
            return await act
    except AtollError as error:
        if isinstance(error, BackendFault):
            raise
        return None


async def planted(box: Sandbox, target: str, *, hard: bool = False) -> str:
    done = await run(box, program("ln", "-sfn" if not hard else "-f", target, "/workspace/link"))
    assert hard or done.exit.code == 0, done.stderr
    return "link"


async def test_a_link_to_a_file_of_the_host_reads_nothing(box: Sandbox, host_file: Path) -> None:
    for target in (str(host_file), f"../../../..{host_file}", f"/proc/self/root{host_file}"):
        link = await planted(box, target)
        with pytest.raises((NotFound, InvalidRequest)):
            await read(box.files, link)
        with pytest.raises((NotFound, InvalidRequest)):
            await read(box.files, str(host_file))
    await box.files.write("own", b"own")
    assert await read(box.files, await planted(box, "/workspace/own")) == b"own"
    assert host_file.read_bytes() == SECRET


async def test_a_link_to_a_file_of_the_host_writes_nothing(box: Sandbox, host_file: Path) -> None:
    link = await planted(box, str(host_file))
    await tried(box.files.write(link, b"overwritten"))
    assert host_file.read_bytes() == SECRET
    await planted(box, str(host_file.parent))
    await tried(box.files.write("link/secret", b"overwritten"))
    assert host_file.read_bytes() == SECRET


@pytest.mark.parametrize("name", ["environ", "mem", "maps", "cmdline", "fd/0", "root/etc/passwd"])
async def test_a_link_into_proc_tells_nothing_of_the_server(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("ATOLL_SECRET_OF_THE_TEST", "hunter2")
    for pid in ("1", "self"):
        link = await planted(box, f"/proc/{pid}/{name}")
        seen = b""
        with suppress(AtollError), anyio.fail_after(5):
            seen = await read(box.files, link, length=65536)
        assert b"hunter2" not in seen
        assert b"atoll serve" not in seen
        assert b"pytest" not in seen


@pytest.mark.parametrize(
    "target", ["/proc/meminfo", "/proc/sys/kernel/hostname", "/dev/null", "/dev/full"]
)
async def test_a_write_through_a_link_into_the_kernel_is_refused(box: Sandbox, target: str) -> None:
    link = await planted(box, target)
    with pytest.raises(AtollError) as caught:
        with anyio.fail_after(5):
            await box.files.write(link, b"x" * 100)
    assert not isinstance(caught.value, BackendFault), caught.value.detail
    assert Path("/dev/null").is_char_device()
    await box.files.write("plain", b"x")


@pytest.mark.parametrize("pid", ["1", "self"])
async def test_a_write_through_a_link_to_memory_replaces_the_link(box: Sandbox, pid: str) -> None:
    """Whoever writes for the client has no number in the sandbox, and the first is not shown."""
    link = await planted(box, f"/proc/{pid}/mem")
    await box.files.write(link, b"x" * 100)
    assert (await box.files.stat(link)).kind is FileKind.FILE
    assert await read(box.files, link) == b"x" * 100


FLIP = """
import os
inside, outside, link = "/workspace/good", %r, "/workspace/flip"
open(inside, "w").write("good")
os.makedirs("/workspace/d1", exist_ok=True)
open("/workspace/d1/file", "w").write("good")
print("on", flush=True)
while True:
    for target in (inside, outside):
        os.symlink(target, link + ".new")
        os.replace(link + ".new", link)
    os.rename("/workspace/d1", "/workspace/d2")
    os.symlink(os.path.dirname(outside), "/workspace/d1")
    os.unlink("/workspace/d1")
    os.rename("/workspace/d2", "/workspace/d1")
"""


async def racing(box: Sandbox, outside: Path) -> Process:
    process = await box.start(program("python3", "-c", FLIP % str(outside), wall_s=20))
    assert await first(process)
    return process


async def test_a_race_of_links_never_leads_out(box: Sandbox, host_file: Path) -> None:
    """Between look and leap: a link, and a directory on the way, change all the time."""
    process = await racing(box, host_file)
    good = 0
    for number in range(60):
        for path in ("flip", "d1/file", "d1/secret"):
            try:
                seen = await read(box.files, path)
            except AtollError:
                continue
            assert seen in (b"good", b"new", b"")
            good += seen in (b"good", b"new")
        try:
            await box.files.write(("flip", "d1/secret")[number % 2], b"new")
        except AtollError:
            continue
    await process.signal(9)
    await process.wait()
    assert good > 0
    assert host_file.read_bytes() == SECRET


async def test_a_race_while_packing_and_removing_never_leads_out(
    box: Sandbox, host_file: Path
) -> None:
    process = await racing(box, host_file)
    packed = 0
    for _ in range(15):
        try:
            data = b"".join([part async for part in box.files.pack(".")])
        except AtollError:
            continue
        assert SECRET not in data
        packed += 1
        try:
            await box.files.remove("d1", recursive=True)
        except AtollError:
            continue
    await process.signal(9)
    await process.wait()
    assert packed > 0
    assert host_file.read_bytes() == SECRET


async def test_no_hard_link_to_what_is_not_the_guests(box: Sandbox) -> None:
    for target in ("/usr/bin/env", "/proc/self/status", "/dev/null"):
        await planted(box, target, hard=True)
        with pytest.raises(NotFound):
            await box.files.stat("link")
    await box.files.write("own", b"own")
    await planted(box, "/workspace/own", hard=True)
    assert await read(box.files, "link") == b"own"


async def test_pipes_sockets_and_devices_do_not_hold_the_client(box: Sandbox) -> None:
    await inside(
        box,
        "os.mkfifo('/workspace/pipe')\nsocket.socket(socket.AF_UNIX).bind('/workspace/sock')\n"
        "os.symlink('/dev/zero', '/workspace/zero')\ntell(1)",
    )
    for name in ("pipe", "sock", "zero", "/dev/random", "/dev/tty"):
        with anyio.fail_after(5):
            with pytest.raises((InvalidRequest, NotFound)):
                await read(box.files, name)
    assert (await box.files.stat("pipe")).kind is FileKind.OTHER
    with anyio.fail_after(5):
        assert b"".join([part async for part in box.files.pack(".")])
    await box.files.remove("pipe")


async def test_deep_trees_and_long_names_are_handled(one_shot: Sandbox) -> None:
    probe = """
os.chdir("/workspace")
for _ in range(3000):
    os.mkdir("d" * 100)
    os.chdir("d" * 100)
os.chdir("/workspace")
open("n" * 255, "w").close()
open(b"\\xff\\xfe\\n", "w").close()
tell(attempt(put, "n" * 256))
"""
    assert await inside(one_shot, probe) == "ENAMETOOLONG"
    with anyio.fail_after(10):
        listed = await names(one_shot.files, ".")
        assert "/workspace/" + "n" * 255 in listed
        with pytest.raises(InvalidRequest):
            await one_shot.files.write("n" * 256, b"")
        await tried(names(one_shot.files, ".", depth=64))
        await one_shot.files.remove("d" * 100, recursive=True)
        assert "/workspace/" + "d" * 100 not in await names(one_shot.files, ".")


@pytest.mark.parametrize(
    "path",
    ["..", "../..", "/../etc", "a/../../..", "/proc/self/root/../x", "a\0b", "", "x" * 5000,
     "/proc/1/root/etc/shadow", "/proc/self/fd/0", "/proc/self/cwd/../../x"],
)  # fmt: skip
async def test_no_spelling_of_a_path_leads_out(box: Sandbox, path: str) -> None:
    for act in (box.files.stat(path + "/y" if path else ""), read(box.files, path)):
        with pytest.raises(AtollError) as caught:
            await act
        assert not isinstance(caught.value, BackendFault), caught.value.detail
    with pytest.raises(AtollError):
        await box.files.write(path, b"x")


async def test_a_file_that_grows_while_it_is_read_ends(one_shot: Sandbox) -> None:
    grow = (
        "import os\nfd = os.open('/workspace/log', 65)\nos.write(fd, b'x')\nprint(1, flush=True)\n"
    )
    writer = await one_shot.start(
        program("python3", "-c", grow + "while True: os.write(fd, b'x' * 4096)", wall_s=10)
    )
    await first(writer)
    with anyio.fail_after(5):
        async for _ in one_shot.files.read("log"):
            pass
    await writer.signal(9)


async def _endless() -> AsyncGenerator[bytes, None]:
    while True:
        yield bytes(65536)


async def test_the_client_cannot_overfill_either(backend: NamespaceBackend) -> None:
    async with backend.open(small()) as box:
        with anyio.fail_after(10):
            with pytest.raises(AtollError):
                await box.files.write("big", _endless())
        await box.files.write("little", b"x")
        assert await names(box.files, ".") == ["/workspace/little"]


STOPPED = """
import time
def state(pid):
    return text(f"/proc/{pid}/stat").rpartition(")")[2].split()[0]
def becomes(pid, *wanted):
    for _ in range(500):
        if state(pid) in wanted:
            return True
        time.sleep(0.01)
    return state(pid)
reading, writing = os.pipe()
if os.fork() == 0:
    orphan = os.fork()
    if orphan == 0:
        signal.pause()
    os.write(writing, orphan.to_bytes(4, "little"))
    os._exit(0)
os.wait()
orphan = int.from_bytes(os.read(reading, 4), "little")
everybody = attempt(os.kill, -1, signal.SIGSTOP)
stopped = becomes(orphan, "T")
os.kill(orphan, signal.SIGCONT)
tell([everybody, stopped, becomes(orphan, "S")])
os.kill(orphan, signal.SIGKILL)
"""


async def test_the_guest_stops_everything_and_no_client_waits_for_it(box: Sandbox) -> None:
    """A file worker is no process of the guest's, whose own can be stopped, and go on."""
    size = 32 * 1024 * 1024
    await box.files.write("large", bytes(size))
    async with aclosing(box.files.read("large")) as pieces:
        got = len(await anext(pieces))
        assert await inside(box, STOPPED) == ["ok", True, True]
        with anyio.fail_after(5):
            async for piece in pieces:
                got += len(piece)
    assert got == size
