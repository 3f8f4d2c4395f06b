"""The server's end of a maker and its zygote: start them, ask them for sandboxes, end them."""

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import anyio
from anyio import to_thread

from atoll.core.errors import BackendFault, Unavailable
from atoll.jail import bundle, seccomp
from atoll.jail.launch import LOADER
from atoll.wire import message

START_S = 20.0
SPAWN_S = 10.0
_HIGH_FD = 64
_BACKLOG_MAX = 4096
_PAUSE_S = 0.005


@dataclass(frozen=True, slots=True)
class ZygoteConfig:
    """What a zygote is made of.

    `uid` is the unprivileged user it becomes when the server is root, None otherwise. `binds` are
    (host path, path in the image), read-only. `data` is a host directory that kept sandboxes live
    in; zygotes for fresh ones have None and cannot name it. `store` is the directory of images'
    layers, for sandboxes of other images than the host's. `memory_bounded` says that a cgroup
    bounds memory; without one the guest has fewer kinds of it. With `library`, where the engine of
    WebAssembly is on the host, it is one without an image and namespaces (`jail.plain`), and
    `binds` are directories that its forks may read, and the names that they have for them.
    """

    uid: int | None
    preload: tuple[str, ...] = ()
    binds: tuple[tuple[str, str], ...] = ()
    data: str | None = None
    store: str | None = None
    memory_bounded: bool = True
    library: str | None = None

    @property
    def entry(self) -> str:
        """The module that the launcher runs."""
        return "atoll.jail.launch" if self.library is None else "atoll.jail.plain"


class Made(NamedTuple):
    """A sandbox's namespaces: the first process, and what tells how full its disk is.

    Whoever asked for it owns the two descriptors. No path is ever looked up beneath `disk`.
    """

    pidfd: int
    disk: int


class Zygote:
    """A running maker and zygote. Use `launch`, which ends them."""

    def __init__(self, control: socket.socket, pid: int, version: str) -> None:
        self._control = control
        self._pid = pid
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[str, asyncio.Future[Made]] = {}
        self._exits: dict[int, asyncio.Future[message.Header]] = {}
        self._backlog: list[tuple[message.Header, tuple[int, ...]]] = []
        self._number = 0
        self.python_version = version
        self.broken = ""
        self._loop.add_reader(control.fileno(), self._readable)

    @property
    def pid(self) -> int:
        """The launcher's process id on the host; the maker is its child."""
        return self._pid

    def expect(self) -> tuple[int, asyncio.Future[message.Header]]:
        """A number for a fork to be asked for, and where the report of its end will be."""
        self._number += 1
        self._exits[self._number] = self._loop.create_future()
        return self._number, self._exits[self._number]

    def forget(self, number: int) -> None:
        """There will be no such report; whoever waits for it gets an empty one."""
        report = self._exits.pop(number, None)
        if report is not None and not report.done():
            report.set_result({})

    async def make(self, request: message.Header, fds: tuple[int, ...]) -> Made:
        """New namespaces, furnished; with `start` in the request a program waits in them.

        Shield it: who leaves before the answer leaves a sandbox that nobody holds. Raises
        `BackendFault` when it cannot be, or there is no answer in time.
        """
        sandbox_id = str(request["id"])
        if self.broken:
            raise BackendFault(f"The zygote has ended: {self.broken}", sandbox_id=sandbox_id)
        answer: asyncio.Future[Made] = self._loop.create_future()
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

    def tell(self, request: message.Header, fds: tuple[int, ...]) -> None:
        """Send without waiting. What the socket has no room for now is sent a moment later.

        Raises `BackendFault` when too much waits already, or nobody is there.
        """
        if self.broken:
            raise BackendFault(f"The zygote has ended: {self.broken}", sandbox_id=request["id"])
        try:
            message.send(self._control, request, fds=fds)
        except BlockingIOError:
            if len(self._backlog) >= _BACKLOG_MAX:
                raise BackendFault(
                    "The zygote does not keep up.", sandbox_id=request["id"]
                ) from None
            self._backlog.append((request, tuple(os.dup(fd) for fd in fds)))
            self._loop.call_later(_PAUSE_S, self._flush)
        except OSError as error:
            self._break(str(error))

    def _flush(self) -> None:
        backlog, self._backlog = self._backlog, []
        for request, fds in backlog:
            with contextlib.suppress(BackendFault):
                self.tell(request, fds)
            _close(fds)

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
        if not self._heard(header, fds):
            _close(fds)

    def _heard(self, header: message.Header, fds: list[int]) -> bool:
        """Pass a message on to who waits for it; whether the descriptors have gone with it."""
        operation, detail = header.get("op"), str(header.get("detail"))
        if operation == "exit":
            report = self._exits.pop(int(header["n"]), None)
            if report is not None and not report.done():
                report.set_result(header)
        elif operation == "made" and len(fds) == 2:
            answer = self._waiting.pop(str(header["id"]), None)
            if answer is not None and not answer.done():
                answer.set_result(Made(*fds))
                return True
        elif operation == "refused":
            answer = self._waiting.pop(str(header["id"]), None)
            if answer is not None and not answer.done():
                answer.set_exception(BackendFault(f"A sandbox could not be made: {detail}"))
        elif operation == "fatal":
            self._break(detail)
        return False

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
        for _, fds in self._backlog:
            _close(fds)
        self._backlog.clear()


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)


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
        zygote = await _ready(ours, pid, errors, config.entry)
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
            "store": config.store,
            "seccomp": seccomp.program(memory_bounded=config.memory_bounded).hex(),
            "entry": config.entry,
            "library": config.library,
            "final": (seccomp.final() if config.library is None else seccomp.alone()).hex(),
        }
    )


async def _ready(ours: socket.socket, pid: int, errors: int, entry: str) -> Zygote:
    plain = entry != "atoll.jail.launch"
    try:
        with anyio.fail_after(START_S):
            header, fds = await _receive(ours)
    except (OSError, TimeoutError, message.BadMessage) as error:
        os.set_blocking(errors, False)
        said = b""
        with contextlib.suppress(BlockingIOError):
            said = os.read(errors, 4096)
        why = said.decode(errors="replace").strip().splitlines()[-1:] or [str(error)]
        what = "Workers cannot be started" if plain else "Namespaces cannot be used"
        raise Unavailable(f"{what} here: {why[0]}") from error
    for fd in fds:
        os.close(fd)
    if header.get("op") != "ready":
        what = "Workers" if plain else "The image's python3"
        raise Unavailable(f"{what} cannot be used: {header.get('detail')}")
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
            # What starts the server may have it ignore signals (a shell's `&` does); a guest's
            # programs find them at their defaults.
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
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
