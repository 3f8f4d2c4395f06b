"""A kept sandbox has a program that waits when it is opened, and none when it is idle."""

import os
import socket
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from atoll.backends.namespace import NamespaceBackend, NamespaceConfig
from atoll.backends.namespace.sandbox import STANDBY_S
from atoll.core.errors import AtollError, BackendFault
from atoll.core.model import ProcessSpec, SandboxSpec, TtySize
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import program, run, script

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]
KEPT = SandboxSpec(id="kept", persistent=True)
PIDS = script("set -- /proc/[0-9]*; echo $#")
NAME = program("cat", "/proc/self/comm")


@pytest.fixture(scope="module")
async def backend(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[NamespaceBackend, None]:
    place = Path(tmp_path_factory.mktemp("standby"))
    async with NamespaceBackend(NamespaceConfig(place)) as backend:
        yield backend


def forks() -> int:
    """Processes beneath this one."""
    parents: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                text = Path(f"/proc/{name}/stat").read_text()
            except OSError:
                continue
            parents[int(name)] = int(text.rpartition(")")[2].split()[1])
    mine, grown = {os.getpid()}, True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in mine} - mine
        mine |= more
        grown = bool(more)
    return len(mine)


async def until(fits: Callable[[int], bool]) -> None:
    with anyio.fail_after(8):
        while not fits(await to_thread.run_sync(forks)):
            await anyio.sleep(STANDBY_S / 50)  # waits on purpose: for processes to come and go


async def said(box: Sandbox, spec: ProcessSpec) -> str:
    return (await run(box, spec)).stdout.decode()


async def test_it_is_gone_when_nobody_needed_it(backend: NamespaceBackend) -> None:
    async with backend.open(SandboxSpec(id="first", persistent=True)):
        pass  # what all of them have in common is there now
    before = await to_thread.run_sync(forks)
    async with backend.open(KEPT) as box:
        await until(lambda count: count == before + 2)
        await until(lambda count: count == before + 1)  # only the sandbox's own first process
        assert await said(box, PIDS) == "1\n"


async def test_programs_at_once_all_find_proc(backend: NamespaceBackend) -> None:
    async with backend.open(KEPT) as box:
        told: list[str] = []

        async def tell() -> None:
            told.append(await said(box, NAME))

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(tell)
        assert told == ["cat\n"] * 4


async def test_one_that_failed_is_no_sign_of_proc(backend: NamespaceBackend) -> None:
    async with backend.open(KEPT) as box:
        one = box._standby
        assert one is not None
        with anyio.fail_after(10):
            while one.said() is None:  # or it and the next would mount at once
                await anyio.sleep(0.01)  # waits on purpose: for another process
        real, theirs = one.sock, socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        one.sock, other = theirs
        one.sock.setblocking(False)
        with real, other:
            other.send(b"OSError: no room")
            box._spare()
            with pytest.raises(BackendFault, match="no room"):
                await box.start(NAME)
        assert await said(box, NAME) == "cat\n"


async def test_who_gives_up_leaves_it_to_the_next(backend: NamespaceBackend) -> None:
    mute, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mute.setblocking(False)
    with mute, other:
        async with backend.open(KEPT) as box:
            one = box._standby
            assert one is not None
            real, one.sock = one.sock, mute
            with anyio.move_on_after(0.1):
                await box.start(NAME)
            one.sock = real
            assert box._standby is one
            assert await said(box, NAME) == "cat\n"
            assert box._standby is None


async def test_its_end_is_heard_by_who_waits_for_it(backend: NamespaceBackend) -> None:
    async def start(box: Sandbox) -> None:
        with pytest.raises(BackendFault, match="has ended"):
            await box.start(NAME)

    ours, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with other, anyio.fail_after(8):
        async with anyio.create_task_group() as tasks:
            async with backend.open(KEPT) as box:
                one = box._standby
                assert one is not None
                with one.sock:
                    one.sock = ours
                tasks.start_soon(start, box)
                await anyio.wait_all_tasks_blocked()


async def test_a_terminal_comes_first(backend: NamespaceBackend) -> None:
    async with backend.open(KEPT) as box:
        first = ProcessSpec(argv=("tty",), tty=TtySize())
        assert "/dev/pts/" in await said(box, first)
        assert await said(box, NAME) == "cat\n"


async def test_a_start_while_its_sandbox_ends(backend: NamespaceBackend) -> None:
    async def starting(box: Sandbox) -> None:
        try:
            while True:
                await box.start(program("true"))
        except AtollError:
            return  # and nothing else: what is not ours would end the server's other tasks

    for turn in range(20):
        async with anyio.create_task_group() as group:
            async with backend.open(SandboxSpec(id=f"ends{turn}", persistent=True)) as box:
                group.start_soon(starting, box)
                await anyio.sleep(0.0007 * turn)  # waits on purpose: at another moment each time
        await backend.destroy(f"ends{turn}")
