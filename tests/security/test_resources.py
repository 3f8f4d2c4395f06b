"""Using up what the host has: processes, memory, disk, inodes, output, time, descriptors."""

from contextlib import suppress
from dataclasses import replace

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
