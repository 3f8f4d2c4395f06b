"""Another sandbox's files, shared memory and processes, and the host's shared memory."""

from multiprocessing import shared_memory
from pathlib import Path

import pytest

from atoll.backends.namespace import NamespaceBackend
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import first, fresh, program
from tests.security.probe import inside, outside
from tests.security.probe import program as probe_program

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

MAKE = """
places = ("/dev/shm/mark", "/tmp/mark", "/workspace/mark", "/run/mark", "/home/user/mark")
for place in places:
    put(place, "of the other")
ident = libc.shmget(4711, ctypes.c_size_t(4096), 0o1666)
libc.semget(4711, 1, 0o1666)
libc.msgget(4711, 0o1666)
tell("on")
time.sleep(20)
"""
LOOK = """
places = ("/dev/shm/mark", "/tmp/mark", "/workspace/mark", "/run/mark", "/home/user/mark")
found = [attempt(text, place) for place in places]
keys = [libc.shmget(4711, ctypes.c_size_t(4096), 0), libc.semget(4711, 1, 0), libc.msgget(4711, 0)]
tell([found, [key >= 0 for key in keys]])
"""


@pytest.mark.parametrize("persistent", [False, True])
async def test_files_and_shared_memory_are_apart(
    backend: NamespaceBackend, box: Sandbox, persistent: bool
) -> None:
    spec = fresh(persistent=persistent)
    async with backend.open(spec) as other:
        maker = await other.start(program("python3", "-c", probe_program(MAKE)))
        assert await first(maker)
        assert await inside(other, LOOK) == [["of the other"] * 5, [True] * 3]
        assert await inside(box, LOOK) == [["ENOENT"] * 5, [False] * 3]
        await maker.signal(9)
    await backend.destroy(spec.id)


async def test_the_hosts_shared_memory_is_not_there(box: Sandbox) -> None:
    memory = shared_memory.SharedMemory(create=True, size=4096)
    try:
        look = f"tell(attempt(os.stat, '/dev/shm/{memory.name}'))"
        assert await inside(box, look) == "ENOENT"
        assert await outside(look) == "ok"
    finally:
        memory.close()
        memory.unlink()


async def test_a_kept_sandboxs_layers_are_not_another_users(backend: NamespaceBackend) -> None:
    """On the host the layers are behind directories that others cannot list."""
    spec = fresh(persistent=True)
    async with backend.open(spec) as box:
        await box.files.write("secret", b"x")
        for place in (backend._root, backend._root / "layers"):
            assert place.stat().st_mode & 0o066 == 0
        assert any(Path(backend._root, "layers").iterdir())
    await backend.destroy(spec.id)


async def test_a_sandbox_of_the_same_name_does_not_find_the_old_files(
    backend: NamespaceBackend,
) -> None:
    spec = fresh(persistent=True)
    async with backend.open(spec) as box:
        await box.files.write("secret", b"x")
    async with backend.open(spec) as box:
        assert await inside(box, "tell(os.listdir('/workspace'))") != ["main.py"]
    await backend.destroy(spec.id)
    async with backend.open(spec) as box:
        assert await inside(box, "tell(os.listdir('/workspace'))") == ["main.py"]
    await backend.destroy(spec.id)


async def test_the_user_of_sandboxes_owns_nothing_else(box: Sandbox) -> None:
    """What the guest is on the host: not root, and not able to become the server's user."""
    maps = await inside(box, "tell([text(f'/proc/self/{n}_map').split() for n in ('uid', 'gid')])")
    for inner, _, count in maps:
        assert (inner, count) == ("1000", "1")
    assert await inside(box, "tell([os.getuid(), os.getgid(), os.getgroups()])") in (
        [1000, 1000, []], [1000, 1000, [65534]], [1000, 1000, [1000]],
    )  # fmt: skip
    assert (await outside("tell(text('/proc/self/uid_map').split()[2])")) != "1"
