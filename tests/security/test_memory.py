"""Memory of every kind: anonymous, shared, in files, of many processes, of what is left behind."""

import anyio
import pytest

from atoll.backends.namespace import NamespaceBackend
from atoll.core.model import MIB, ExitReason
from tests.security.probe import attack, inside
from tests.security.test_resources import ended, small, well

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

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
        await anyio.sleep(0.7)  # waits on purpose: what was left behind grows meanwhile
        assert await inside(box, count) == 1
        assert await inside(box, probe % 16) == "left"
        await anyio.sleep(0.7)  # waits on purpose: what was left behind grows meanwhile
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
