"""An open namespace sandbox: the conversation with its init, and the programs in it."""

import asyncio
import contextlib
import errno
import json
import os
import signal
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, cast

import anyio

from atoll.backends.namespace.files import NamespaceFiles
from atoll.backends.namespace.process import NamespaceProcess
from atoll.core.errors import AtollError, BackendFault, Conflict, InvalidRequest, QuotaExceeded
from atoll.core.model import Change, Channel, ExitReason, ProcessSpec, SandboxSpec
from atoll.jail.cgroups import Group
from atoll.wire import message

INLINE_MAX = 24 * 1024
START_S = 10.0
DIE_S = 10.0
_BACKLOG_MAX = 64
_REPORT_MAX = 8192
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/atoll/bin",
    "HOME": "/home/user",
    "USER": "user",
    "LOGNAME": "user",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(slots=True)
class Standby:
    """A confined process that waits to be told what to become, with its pipes in place."""

    sock: socket.socket
    stdin: int
    stdout: int
    stderr: int
    pid: int = 0

    def close(self) -> None:
        """Let go of everything."""
        self.sock.close()
        for fd in (self.stdin, self.stdout, self.stderr):
            os.close(fd)


class NamespaceSandbox:
    """Implements `core.ports.Sandbox`, `Ended` and `Watches`. Closed by whoever opened it."""

    def __init__(
        self,
        spec: SandboxSpec,
        control: socket.socket,
        pidfd: int,
        group: Group,
        standby: Standby | None,
    ) -> None:
        self.spec = spec
        self.group = group
        self._control = control
        self._pidfd = pidfd
        self._standby = standby
        self._loop = asyncio.get_running_loop()
        self._processes: dict[int, NamespaceProcess] = {}
        self._early: dict[int, dict[str, Any]] = {}
        self._answers: dict[int, asyncio.Future[tuple[dict[str, Any], list[int]]]] = {}
        self._backlog: list[tuple[dict[str, Any], tuple[int, ...]]] = []
        self._number = 0
        self._seen = (0, 0)
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._ending = ExitReason.UNKNOWN
        self._files = NamespaceFiles(self)
        self._loop.add_reader(control.fileno(), self._readable)

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def files(self) -> NamespaceFiles:
        return self._files

    @property
    def busy(self) -> bool:
        """Whether a program runs in it."""
        return bool(self._processes)

    async def ended(self) -> str:
        return await asyncio.shield(self._ended)

    def watch(self, path: str) -> AsyncGenerator[Change, None]:
        return self._files.watch(path)

    # the conversation
    def _readable(self) -> None:
        try:
            received = message.receive(self._control)
        except BlockingIOError:
            return
        except (OSError, message.BadMessage):
            received = None
        if received is None:
            self._died("crash")
            return
        header, _, fds = received
        try:
            self._dispatch(header, fds)
        except (KeyError, TypeError, ValueError):
            self.kill()

    def _dispatch(self, header: dict[str, Any], fds: list[int]) -> None:
        operation = header.get("op")
        if operation == "exit":
            process = self._processes.pop(int(header["pid"]), None)
            if process is not None:
                process.exited(header)
            else:
                self._early[int(header["pid"])] = header
        elif operation in ("started", "failed"):
            answer = self._answers.pop(int(header["n"]), None)
            if answer is not None and not answer.done():
                answer.set_result((header, fds))
                return
        elif operation == "ready" and not self._ready.done():
            if self._standby is not None:
                self._standby.pid = int(header["pid"])
            self._ready.set_result(None)
        elif operation == "fatal":
            self._died(f"crash: {header.get('detail')}")
        for fd in fds:
            os.close(fd)

    def command(self, header: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Send without waiting. What the socket has no room for now is sent a moment later."""
        try:
            message.send(self._control, header, fds=fds)
        except BlockingIOError:
            if len(self._backlog) >= _BACKLOG_MAX:
                self.kill()
                return
            held = tuple(os.dup(fd) for fd in fds)
            self._backlog.append((header, held))
            self._loop.call_later(0.01, self._flush)
        except OSError:
            self._died("crash")

    def _flush(self) -> None:
        backlog, self._backlog = self._backlog, []
        for header, fds in backlog:
            self.command(header, fds)
            for fd in fds:
                os.close(fd)

    def new_evidence(self) -> tuple[bool, bool]:
        now = (self.group.oom_kills(), self.group.pids_refused())
        before, self._seen = self._seen, now
        return now[0] > before[0], now[1] > before[1]

    async def ready(self) -> None:
        """Wait until the init has set itself up; `BackendFault` when it could not."""
        try:
            with anyio.fail_after(START_S):
                await self._ready
        except TimeoutError as error:
            raise BackendFault("The sandbox did not get ready.", sandbox_id=self.id) from error

    # programs
    async def start(self, spec: ProcessSpec) -> NamespaceProcess:
        if self._ended.done():
            raise BackendFault("The sandbox has ended.", sandbox_id=self.id)
        header, blob = self._request(spec)
        if self._standby is not None and spec.tty is None:
            standby, self._standby = self._standby, None
            return await self._start_standby(standby, spec, header, blob)
        return await self._start_forked(spec, header, blob)

    def _request(self, spec: ProcessSpec) -> tuple[dict[str, Any], bytes]:
        env = {**ENVIRONMENT, **self.spec.env, **spec.env}
        if spec.tty is not None:
            env.setdefault("TERM", "xterm-256color")
        for key, value in env.items():
            if not key or "=" in key or "\0" in key or "\0" in value:
                raise InvalidRequest(f"{key!r} is not an environment variable.", field="env")
        if not spec.argv:
            raise InvalidRequest("The command is empty.", field="argv")
        if any("\0" in word for word in spec.argv):
            raise InvalidRequest("The command has a NUL byte in it.", field="argv")
        header: dict[str, Any] = {
            "argv": spec.argv,
            "cwd": spec.cwd,
            "env": env,
            "files": [[path, len(data)] for path, data in spec.files.items()],
            "cpu_s": spec.cpu_s,
        }
        if spec.tty is not None:
            header["tty"] = {"rows": spec.tty.rows, "cols": spec.tty.cols}
        return header, b"".join(spec.files.values())

    async def _start_standby(
        self, standby: Standby, spec: ProcessSpec, header: dict[str, Any], blob: bytes
    ) -> NamespaceProcess:
        stdin: int | None = standby.stdin
        if not spec.stdin:
            os.close(standby.stdin)
            stdin = None
        pipes = {standby.stdout: Channel.STDOUT, standby.stderr: Channel.STDERR}
        process = NamespaceProcess(self, spec, standby.pid, pipes, stdin)
        self._adopt(process)
        try:
            with _memory(header, blob) as (inline, fds):
                self._send_whole(standby.sock, header, inline, fds)
            with anyio.fail_after(START_S):
                raw = await self._loop.sock_recv(standby.sock, _REPORT_MAX)
            if raw:
                raise self._refusal(spec, _json(raw))
        except TimeoutError as error:
            process.end(ExitReason.CANCELLED)
            raise BackendFault("The program did not start.", sandbox_id=self.id) from error
        except BaseException:
            process.end(ExitReason.CANCELLED)
            raise
        finally:
            standby.sock.close()
        return process

    def _send_whole(
        self, sock: socket.socket, header: dict[str, Any], blob: bytes, fds: tuple[int, ...]
    ) -> None:
        try:
            message.send(sock, header, blob, fds)
        except message.BadMessage as error:
            raise InvalidRequest(
                "The command and its environment are longer than 128 KiB.", field="argv"
            ) from error
        except OSError as error:
            raise BackendFault(
                f"The sandbox does not listen: {error.strerror}", sandbox_id=self.id
            ) from error

    async def _start_forked(
        self, spec: ProcessSpec, header: dict[str, Any], blob: bytes
    ) -> NamespaceProcess:
        self._number += 1
        number = self._number
        header |= {"op": "start", "n": number}
        pairs = [] if spec.tty is not None else [os.pipe2(os.O_CLOEXEC) for _ in range(3)]
        mine = [pairs[0][1], pairs[1][0], pairs[2][0]] if pairs else []
        theirs = [pairs[0][0], pairs[1][1], pairs[2][1]] if pairs else []
        answer: asyncio.Future[tuple[dict[str, Any], list[int]]] = self._loop.create_future()
        self._answers[number] = answer
        try:
            with _memory(header, blob) as (inline, fds):
                self._send_whole(self._control, header, inline, (*theirs, *fds))
            _close(theirs)
            with anyio.fail_after(START_S):
                report, masters = await answer
            if report["op"] == "failed":
                raise self._refusal(spec, report)
            mine += masters
        except BaseException as error:
            self._abandon(number, answer)
            _close([*theirs, *mine])
            if isinstance(error, TimeoutError):
                raise BackendFault("The program did not start.", sandbox_id=self.id) from error
            raise
        return self._plumbed(spec, int(report["pid"]), mine)

    def _plumbed(self, spec: ProcessSpec, pid: int, fds: list[int]) -> NamespaceProcess:
        for fd in fds:
            os.set_blocking(fd, False)
        if spec.tty is not None:
            process = NamespaceProcess(self, spec, pid, {fds[0]: Channel.STDOUT}, os.dup(fds[0]))
        else:
            stdin: int | None = fds[0]
            if not spec.stdin:
                os.close(fds[0])
                stdin = None
            pipes = {fds[1]: Channel.STDOUT, fds[2]: Channel.STDERR}
            process = NamespaceProcess(self, spec, pid, pipes, stdin)
        self._adopt(process)
        return process

    def _adopt(self, process: NamespaceProcess) -> None:
        early = self._early.pop(process.pid, None)
        if early is not None:
            process.exited(early)
        elif self._ended.done():
            process.lost(self._ending)
        else:
            self._processes[process.pid] = process

    def _abandon(
        self, number: int, answer: asyncio.Future[tuple[dict[str, Any], list[int]]]
    ) -> None:
        """The caller has gone before the answer: whatever was started is killed."""
        if answer.done() and not answer.cancelled() and answer.exception() is None:
            report, fds = answer.result()
            _close(fds)
            if report["op"] == "started":
                self.command({"op": "kill", "pid": report["pid"]})
            return
        later: asyncio.Future[tuple[dict[str, Any], list[int]]] = self._loop.create_future()
        later.add_done_callback(lambda done: self._abandon(number, done))
        self._answers[number] = later

    def _refusal(self, spec: ProcessSpec, report: dict[str, Any]) -> AtollError:
        stage, number = report.get("stage"), report.get("errno")
        detail = str(report.get("detail"))[:300]
        if stage == "cwd":
            return InvalidRequest(f"The working directory {spec.cwd!r}: {detail}.", field="cwd")
        if stage == "files":
            if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                return QuotaExceeded("The files do not fit into the sandbox's disk.")
            return InvalidRequest(f"The files could not be written: {detail}.", field="files")
        if stage == "fork":
            return Conflict(f"The sandbox cannot start another process: {detail}.")
        word = spec.argv[0]
        if number in (errno.ENOENT, errno.ENOTDIR):
            return InvalidRequest(f"There is no program {word!r} in the sandbox.", field="argv")
        if number == errno.E2BIG:
            return InvalidRequest("The command or its environment is too long.", field="argv")
        return InvalidRequest(f"The program {word!r} cannot be run: {detail}.", field="argv")

    def over_disk(self) -> None:
        """More is on disk than may be: end what runs."""
        for process in list(self._processes.values()):
            process.end(ExitReason.DISK)

    # the end
    def _died(self, why: str) -> None:
        if self._ended.done():
            return
        self._loop.remove_reader(self._control.fileno())
        if self._ending is not ExitReason.CANCELLED and self.new_evidence()[0]:
            why, self._ending = "memory", ExitReason.MEMORY
        self._ended.set_result(why)
        fault = BackendFault(f"The sandbox has ended: {why}", sandbox_id=self.id)
        waiters: list[asyncio.Future[Any]] = [self._ready, *self._answers.values()]
        for waiting in waiters:
            if not waiting.done():
                waiting.set_exception(fault)
                waiting.exception()
        for process in list(self._processes.values()):
            process.lost(self._ending)
        self._processes.clear()

    def kill(self) -> None:
        """End every process in it; what happens next is seen as its end."""
        with contextlib.suppress(ProcessLookupError, OSError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def close(self) -> None:
        """Kill everything, wait until the kernel has ended it, and let go of all that it held."""
        self._ending = ExitReason.CANCELLED
        self.kill()
        with anyio.move_on_after(DIE_S):
            await anyio.wait_readable(self._pidfd)
        self._died("closed")
        if self._standby is not None:
            self._standby.close()
            self._standby = None
        for _, fds in self._backlog:
            _close(list(fds))
        self._backlog.clear()
        self._control.close()
        os.close(self._pidfd)


def _close(fds: list[int]) -> None:
    while fds:
        with contextlib.suppress(OSError):
            os.close(fds.pop())


def _json(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    return {"stage": "exec", "detail": "unknown"}


@contextlib.contextmanager
def _memory(header: dict[str, Any], blob: bytes) -> Any:
    """The blob inline when it is small, else in a memfd that the header announces."""
    if len(blob) <= INLINE_MAX:
        yield blob, ()
        return
    fd = os.memfd_create("atoll-files", os.MFD_CLOEXEC)
    try:
        view = memoryview(blob)
        while view:
            view = view[os.write(fd, view) :]
        header["blob_fd"] = True
        yield b"", (fd,)
    finally:
        os.close(fd)
