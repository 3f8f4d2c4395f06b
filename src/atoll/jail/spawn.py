"""The server's end of a zygote: start it, ask it for sandboxes, end it."""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import anyio
from anyio import to_thread

from atoll.core.errors import BackendFault, Unavailable
from atoll.jail import bundle, seccomp
from atoll.jail.launch import LOADER
from atoll.wire import message

START_S = 20.0
SPAWN_S = 10.0
_HIGH_FD = 64


@dataclass(frozen=True, slots=True)
class ZygoteConfig:
    """What a zygote is made of.

    `uid` is the unprivileged user it becomes when the server is root, None otherwise. `binds` are
    (host path, path in the image), read-only. `data` is a host directory that kept sandboxes live
    in; zygotes for fresh ones have None and cannot name it. `memory_bounded` says that a cgroup
    bounds memory; without one the guest has fewer kinds of it.
    """

    uid: int | None
    preload: tuple[str, ...] = ()
    binds: tuple[tuple[str, str], ...] = ()
    data: str | None = None
    memory_bounded: bool = True


class Zygote:
    """A running zygote. Use `launch`, which ends it."""

    def __init__(self, control: socket.socket, pid: int, version: str) -> None:
        self._control = control
        self._pid = pid
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, asyncio.Future[int]] = {}
        self.python_version = version
        self.broken = ""
        self._loop.add_reader(control.fileno(), self._readable)

    @property
    def pid(self) -> int:
        """The launcher's process id on the host; the zygote is its child."""
        return self._pid

    async def spawn(self, request: message.Header, fds: tuple[int, ...]) -> int:
        """Fork a sandbox; the pidfd of its init, which the caller owns.

        Shield it: who leaves before the answer leaves a sandbox that nobody holds. Raises
        `BackendFault` when the zygote cannot, or does not answer in time.
        """
        sandbox_id = str(request["id"])
        if self.broken:
            raise BackendFault(f"The zygote has ended: {self.broken}", sandbox_id=sandbox_id)
        answer: asyncio.Future[int] = self._loop.create_future()
        self._waiting[sandbox_id] = answer
        try:
            with anyio.fail_after(SPAWN_S):
                await self._send(request, fds)
                return await answer
        except (OSError, TimeoutError, message.BadMessage) as error:
            self._break(f"{type(error).__name__}: {error}")
            raise BackendFault(
                f"The zygote does not answer: {self.broken}", sandbox_id=sandbox_id
            ) from error
        finally:
            self._waiting.pop(sandbox_id, None)

    async def _send(self, request: message.Header, fds: tuple[int, ...]) -> None:
        while True:
            try:
                message.send(self._control, request, fds=fds)
            except BlockingIOError:
                await anyio.wait_writable(self._control)
            else:
                return

    def _readable(self) -> None:
        try:
            received = message.receive(self._control)
        except BlockingIOError:
            return
        except (OSError, message.BadMessage) as error:
            self._break(str(error))
            return
        if received is None:
            self._break("it has ended")
            return
        header, _, fds = received
        answer = self._waiting.pop(str(header.get("id")), None)
        operation, detail = header.get("op"), str(header.get("detail"))
        if answer is not None and not answer.done():
            if operation == "spawned" and len(fds) == 1:
                answer.set_result(fds[0])
                return
            answer.set_exception(BackendFault(f"A sandbox could not be forked: {detail}"))
        for fd in fds:
            os.close(fd)
        if operation == "fatal":
            self._break(detail)

    def _break(self, why: str) -> None:
        self.broken = self.broken or why
        self.close()
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(BackendFault(f"The zygote has ended: {why}"))

    def close(self) -> None:
        """Stop listening."""
        if self._control.fileno() >= 0:
            self._loop.remove_reader(self._control.fileno())


async def _receive(sock: socket.socket) -> tuple[message.Header, list[int]]:
    """One message from a non-blocking socket; `OSError` at its end."""
    while True:
        try:
            received = message.receive(sock)
        except BlockingIOError:
            await anyio.wait_readable(sock)
            continue
        if received is None:
            raise OSError(errno.EPIPE, "it has ended")
        header, _, fds = received
        return header, fds


@contextlib.asynccontextmanager
async def launch(config: ZygoteConfig) -> AsyncGenerator[Zygote, None]:
    """A zygote for the length of the block; with it end all sandboxes it has forked.

    Raises `Unavailable` with what the launcher said when the host does not allow it.
    """
    memory = await to_thread.run_sync(_bundle, config)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    errors, errors_write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = _execute(theirs.fileno(), memory, errors_write)
    finally:
        theirs.close()
        os.close(memory)
        os.close(errors_write)
    ours.setblocking(False)  # noqa: FBT003
    zygote = None
    try:
        zygote = await _ready(ours, pid, errors)
        yield zygote
    finally:
        if zygote is not None:
            zygote.close()
        os.close(errors)
        ours.close()
        with anyio.CancelScope(shield=True):
            await _end(pid)


def _bundle(config: ZygoteConfig) -> int:
    return bundle.pack(
        {
            "parent": os.getpid(),
            "uid": config.uid,
            "preload": list(config.preload),
            "binds": [list(pair) for pair in config.binds],
            "data": config.data,
            "seccomp": seccomp.program(memory_bounded=config.memory_bounded).hex(),
        }
    )


async def _ready(ours: socket.socket, pid: int, errors: int) -> Zygote:
    try:
        with anyio.fail_after(START_S):
            header, fds = await _receive(ours)
    except (OSError, TimeoutError, message.BadMessage) as error:
        os.set_blocking(errors, False)
        said = b""
        with contextlib.suppress(BlockingIOError):
            said = os.read(errors, 4096)
        why = said.decode(errors="replace").strip().splitlines()[-1:] or [str(error)]
        raise Unavailable(f"Namespaces cannot be used here: {why[0]}") from error
    for fd in fds:
        os.close(fd)
    if header.get("op") != "ready":
        raise Unavailable(f"The image's python3 cannot be used: {header.get('detail')}")
    return Zygote(ours, pid, str(header.get("version")))


def _execute(control: int, memory: int, errors: int) -> int:
    """Start the launcher in a bare interpreter: no environment, no descriptors but three."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD) for fd in (memory, control, errors)]
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", "-c", LOADER, "launch"],
            {"PATH": "/usr/bin:/bin"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, null, 1),
                (os.POSIX_SPAWN_DUP2, high[2], 2),
                (os.POSIX_SPAWN_DUP2, high[0], 3),
                (os.POSIX_SPAWN_DUP2, high[1], 4),
            ],
            setsid=True,
        )
    finally:
        for fd in (*high, null):
            os.close(fd)


async def _end(pid: int) -> None:
    """Kill the launcher; its pid namespace, and all that is in it, goes with it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    await anyio.to_thread.run_sync(_wait, pid)


def _wait(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
