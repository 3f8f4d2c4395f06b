"""Using up what the host has: processes, memory, disk, inodes, output, time, descriptors."""

from contextlib import suppress
from dataclasses import replace

import anyio
import pytest

from atoll.backends.namespace import NamespaceBackend
from atoll.core.errors import AtollError
from atoll.core.model import MIB, ExitReason, Limits, SandboxSpec
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import Done, first, fresh, program, read, run
from tests.security.probe import attack, inside

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

SMALL = Limits(
    memory_bytes=96 * MIB, processes=24, disk_bytes=16 * MIB, disk_files=300, open_files=64
)


def small(*, persistent: bool = False, **limits: int) -> SandboxSpec:
    return fresh(limits=replace(SMALL, **limits), persistent=persistent)


async def well(box: Sandbox) -> None:
    """What the limit hit was the program; the sandbox and its file API go on."""
    assert (await run(box, program("echo", "well"))).stdout == b"well\n"
    await box.files.write("well", b"well")
    assert await read(box.files, "well") == b"well"


def ended(done: Done) -> tuple[bytes, ExitReason]:
    return done.stdout, done.exit.reason


FORK_BOMB = """
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.01)
"""
SHELL_BOMB = "f() { f | f & }; f; sleep 5"


@pytest.mark.parametrize("persistent", [False, True])
async def test_a_fork_bomb_is_bounded_and_ended(
    backend: NamespaceBackend, persistent: bool
) -> None:
    spec = small(persistent=persistent)
    async with backend.open(spec) as box:
        bomb = await attack(box, FORK_BOMB, wall_s=1)
        assert bomb.exit.reason in (ExitReason.WALL_TIME, ExitReason.PIDS, ExitReason.MEMORY)
        await well(box)
        assert await inside(box, "tell(len([n for n in os.listdir('/proc') if n.isdigit()]))") <= 2
    await backend.destroy(spec.id)


async def test_a_fork_bomb_of_the_shell(backend: NamespaceBackend) -> None:
    async with backend.open(small()) as box:
        bomb = await run(box, program("bash", "-c", SHELL_BOMB, wall_s=1))
        assert bomb.exit.reason is not ExitReason.EXITED or bomb.exit.code != 0
        count = "tell(len([n for n in os.listdir('/proc') if n.isdigit()]))"
        few = await inside(box, count)
        assert few <= SMALL.processes
    async with backend.open(small()) as box:
        some = await run(box, program("bash", "-c", "f() { echo $1; }; f 1 | cat; f 2 & wait"))
        assert some.stdout == b"1\n2\n"


USED_UP = """
children = []
for _ in range(200):
    try:
        pid = os.fork()
    except OSError as error:
        break
    if pid == 0:
        time.sleep(20)
        os._exit(0)
    children.append(pid)
print(len(children), flush=True)
time.sleep(20)
"""


@pytest.mark.parametrize("persistent", [False, True])
async def test_the_file_api_works_with_all_processes_used_up(
    backend: NamespaceBackend, persistent: bool
) -> None:
    """There are some to spare for the client's own work, which the guest cannot take."""
    spec = small(persistent=persistent)
    async with backend.open(spec) as box:
        text = "import os, time\n" + USED_UP
        hog = await box.start(program("python3", "-c", text))
        count = int(await first(hog))
        assert 10 < count <= SMALL.processes
        await box.files.write("still", b"here")
        assert await read(box.files, "still") == b"here"
        with suppress(AtollError):  # "no room for another process" is an answer, too
            done = await run(box, program("true"))
            assert done.exit.reason in (ExitReason.EXITED, ExitReason.PIDS, ExitReason.SIGNAL)
        await hog.signal(9)
        await hog.wait()
    await backend.destroy(spec.id)


HOGS = {
    "anonymous": "x = bytearray(b'x') * (SIZE << 20)",
    "shared anonymous": """
import mmap
maps = []
for _ in range(SIZE // 8):
    maps.append(mmap.mmap(-1, 8 << 20))
    maps[-1].write(b'x' * (8 << 20))
""",
    "sysv": """
libc.shmat.restype = ctypes.c_void_p
for _ in range(SIZE // 8):
    ident = libc.shmget(0, ctypes.c_size_t(8 << 20), 0o1600)
    place = libc.shmat(ident, None, 0)
    libc.shmctl(ident, 0, None)
    ctypes.memset(ctypes.c_void_p(place), 1, 8 << 20)
""",
    "many processes": """
for _ in range(SIZE // 8):
    if os.fork() == 0:
        x = bytearray(b'x') * (8 << 20)
        time.sleep(0.6)
        os._exit(0)
statuses = [os.wait()[1] for _ in range(SIZE // 8)]
if any(statuses):
    os.kill(os.getpid(), 9)
""",
}
HOG = "%s\ntime.sleep(0.3)\nprint('held', flush=True)\n"


@pytest.mark.parametrize("hog", HOGS)
@pytest.mark.parametrize("persistent", [False, True])
async def test_memory_is_bounded(backend: NamespaceBackend, hog: str, persistent: bool) -> None:
    spec = small(persistent=persistent, processes=100)
    async with backend.open(spec) as box:
        enough = await attack(box, HOG % HOGS[hog].replace("SIZE", "32"))
        assert ended(enough) == (b"held\n", ExitReason.EXITED)
        too_much = await attack(box, HOG % HOGS[hog].replace("SIZE", "256"))
        assert ended(too_much) == (b"", ExitReason.MEMORY)
        await well(box)
    await backend.destroy(spec.id)


async def counted(backend: NamespaceBackend) -> bool:
    """Whether the kernel counts the memory of a whole sandbox here."""
    return (await backend.probe()).limits["memory"].startswith("cgroup")


MEMFD = """
try:
    held = os.memfd_create("x")
except OSError as error:
    tell(errno.errorcode[error.errno])
else:
    for _ in range(%d):
        os.write(held, bytes(1 << 20))
    tell("held")
"""


async def test_memory_in_memfds_is_bounded(backend: NamespaceBackend) -> None:
    """Where the kernel does not count it there is no such memory to have."""
    async with backend.open(small(disk_bytes=512 * MIB)) as box:
        if await counted(backend):
            assert await inside(box, MEMFD % 8) == "held"
            assert ended(await attack(box, MEMFD % 256)) == (b"", ExitReason.MEMORY)
            await well(box)
        else:
            assert await inside(box, MEMFD % 8) == "ENOSYS"


async def test_memory_in_files_is_bounded(backend: NamespaceBackend) -> None:
    """A tmpfs is memory: of the sandbox's own where it is counted, else bounded as disk is."""
    fill = """
with open("/dev/shm/x", "wb") as file:
    for _ in range(%d):
        file.write(bytes(1 << 20))
tell("held")
"""
    async with backend.open(small(disk_bytes=160 * MIB)) as box:
        assert await inside(box, fill % 8) == "held"
        done = await attack(box, fill % 300)
        expected = ExitReason.MEMORY if await counted(backend) else ExitReason.DISK
        assert ended(done) == (b"", expected)


async def test_memory_of_what_outlives_its_program_is_bounded(backend: NamespaceBackend) -> None:
    probe = """
if os.fork() == 0:
    os.setsid()
    for fd in range(3):
        os.close(fd)
    if os.fork() == 0:
        time.sleep(0.2)
        x = bytearray(b"x") * (%d << 20)
        time.sleep(20)
    os._exit(0)
tell("left")
"""
    count = "time.sleep(0.6)\ntell(len([n for n in os.listdir('/proc') if n.isdigit()]))"
    spec = small(persistent=True)
    async with backend.open(spec) as box:
        assert await inside(box, probe % 160) == "left"
        await anyio.sleep(0.7)
        assert await inside(box, count) == 1
        assert await inside(box, probe % 16) == "left"
        await anyio.sleep(0.7)
        assert await inside(box, count) == 2
    await backend.destroy(spec.id)


@pytest.mark.parametrize("persistent", [False, True])
async def test_the_page_cache_is_not_charged_to_the_guest_as_a_crash(
    backend: NamespaceBackend, persistent: bool
) -> None:
    """Reading much more than the memory there is gets it dropped, not the guest killed."""
    spec = small(persistent=persistent)
    async with backend.open(spec) as box:
        probe = """
total = 0
for directory, _, names in os.walk("/usr/lib"):
    for name in names:
        try:
            with open(os.path.join(directory, name), "rb") as file:
                total += len(file.read(1 << 22))
        except OSError:
            pass
    if total > 200 << 20:
        break
tell(total > 96 << 20)
"""
        assert await inside(box, probe) is True
    await backend.destroy(spec.id)


FILL = """
count = 0
for place in ("/workspace", "/tmp", "/var/tmp", "/home/user", "/run", "/dev/shm"):
    try:
        for number in range(COUNT):
            with open(f"{place}/{number}", "wb", 0) as file:
                count += file.write(bytes(SIZE))
    except OSError as error:
        print(errno.errorcode[error.errno])
tell(count)
"""


async def test_the_disk_of_all_places_together_is_bounded(backend: NamespaceBackend) -> None:
    async with backend.open(small()) as box:
        text = FILL.replace("COUNT", "8").replace("SIZE", "1 << 20")
        assert await inside(box, text) <= SMALL.disk_bytes
    async with backend.open(small()) as box:
        text = FILL.replace("COUNT", "1").replace("SIZE", "1 << 20")
        assert await inside(box, text) == 6 * MIB


async def test_inodes_are_bounded(backend: NamespaceBackend) -> None:
    async with backend.open(small()) as box:
        text = FILL.replace("COUNT", "200").replace("SIZE", "1")
        assert await inside(box, text) <= SMALL.disk_files
        with pytest.raises(AtollError):
            await box.files.write("more", b"x")
    async with backend.open(small()) as box:
        assert await inside(box, FILL.replace("COUNT", "20").replace("SIZE", "1")) == 120
        await box.files.write("more", b"x")


async def test_a_flood_of_output_is_cut(box: Sandbox) -> None:
    spec = replace(program("sh", "-c", "yes", wall_s=8), output_bytes=100_000)
    done = await run(box, spec)
    assert done.exit.reason is ExitReason.OUTPUT
    assert done.exit.truncated
    assert len(done.stdout) <= 100_000
    little = await run(
        box, replace(program("sh", "-c", "yes | head -c 99999"), output_bytes=100_000)
    )
    assert (len(little.stdout), little.exit.truncated) == (99_999, False)


DEAF = """
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
"""
WAYS = {
    "sleep": "time.sleep(60)",
    "deaf": DEAF + "time.sleep(60)",
    "double fork": DEAF + "os.fork() or os.setsid() or os.fork()\ntime.sleep(60)",
    "not dumpable": "libc.prctl(4, 0)\nif os.fork() == 0:\n os.setsid()\ntime.sleep(60)",
    "not dumpable, with high bits": """
libc.syscall(ctypes.c_long({prctl}), ctypes.c_long(4 | 1 << 40), ctypes.c_long(0))
os.fork()
time.sleep(60)
""",
    "busy": DEAF + "while True: pass",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.parametrize("way", WAYS)
async def test_the_deadline_ends_it(box: Sandbox, way: str) -> None:
    done = await attack(box, WAYS[way], wall_s=0.4)
    assert done.exit.reason is ExitReason.WALL_TIME
    assert done.exit.usage.wall_s < 3
    assert await inside(box, "tell(len([n for n in os.listdir('/proc') if n.isdigit()]))") == 1


async def test_descriptors_are_bounded_and_leave_with_the_program(box: Sandbox) -> None:
    probe = """
held = []
try:
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError as error:
    tell([errno.errorcode[error.errno], len(held)])
"""
    assert await inside(box, probe) == ["EMFILE", 1021]
    assert await inside(box, "tell(os.open('/dev/null', 0))") == 3
