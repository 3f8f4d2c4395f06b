"""The init of a sandbox: starts programs, reaps them, kills them, works on files, for the server.

Single-threaded; every message comes from the server over `control`, and every answer names the
number the server gave. It ends when the server's end of `control` is closed, and the kernel ends
everything else in the sandbox with it.
"""

import _signal
import contextlib
import os
import select
import socket
from typing import Any, NoReturn

from atoll.guest import start
from atoll.wire import message

Request = dict[str, Any]
_KILL_ROUNDS = 200
_SIGKILL, _SIGSTOP = 9, 19
_MEMORY_POLL_MS = 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


class _Program:
    """A running program: its mark, and whether it was ended for want of memory."""

    __slots__ = ("mark", "memory")

    def __init__(self, mark: int) -> None:
        self.mark = mark
        self.memory = False


def tell_fatal(control: socket.socket, error: BaseException) -> None:
    """Say why this sandbox cannot be, before it ends."""
    detail = f"{type(error).__name__}: {error}"
    with contextlib.suppress(OSError):
        message.send(control, {"op": "fatal", "detail": detail[:2000]})


def run(
    control: socket.socket, standby: list[int] | None, jail: start.Confinement, request: Request
) -> None:
    """Serve until the server is gone. `standby` is its socket, stdin, stdout and stderr."""
    Agent(control, jail, request).serve(standby)


class Agent:
    """State of one sandbox's init."""

    def __init__(self, control: socket.socket, jail: start.Confinement, request: Request) -> None:
        self._control = control
        self._jail = jail
        self._request = request
        self._programs: dict[int, _Program] = {}
        self._strays = False
        self._wake, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def serve(self, standby: list[int] | None) -> None:
        """Announce readiness, then answer messages and report exits, for ever."""
        _signal.signal(_signal.SIGCHLD, lambda _number, _frame: None)
        _signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        ready: Request = {"op": "ready"}
        if standby is not None:
            ready["pid"] = self._stand_by(standby)
        message.send(self._control, ready)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            watching = self._request["memory_poll_bytes"] and (self._programs or self._strays)
            events = dict(poll.poll(_MEMORY_POLL_MS if watching else None))
            if watching:
                self._watch_memory()
            if self._wake in events:
                os.read(self._wake, 4096)
            self._reap()
            if self._control.fileno() in events:
                received = message.receive(self._control)
                if received is None:
                    return
                self._handle(*received)

    def _handle(self, request: Request, blob: bytes, fds: list[int]) -> None:
        operation = request["op"]
        if operation == "start":
            self._start(request, blob, fds)
            return
        if operation == "file":
            self._work(request, fds)
        elif operation == "kill":
            program = self._programs.get(request["pid"])
            if program is not None:
                kill_marked(program.mark)
        elif operation == "signal" and request["pid"] in self._programs:
            with contextlib.suppress(OSError):
                os.killpg(request["pid"], request["signal"])
        for fd in fds:
            os.close(fd)

    def _start(self, request: Request, blob: bytes, fds: list[int]) -> None:
        answer: Request = {"op": "started", "n": request["n"]}
        masters: tuple[int, ...] = ()
        try:
            started = start.start(request, blob, fds, self._jail)
        except start.StartFailed as failed:
            answer = {"op": "failed", "n": request["n"], **failed.report}
        except OSError as error:
            detail = {"stage": "fork", "errno": error.errno, "detail": str(error)}
            answer = {"op": "failed", "n": request["n"], **detail}
        else:
            self._programs[started.pid] = _Program(started.mark)
            answer["pid"] = started.pid
            if started.master is not None:
                masters = (started.master,)
        message.send(self._control, answer, fds=masters)
        for fd in masters:
            os.close(fd)

    def _stand_by(self, fds: list[int]) -> int:
        """Fork a confined process that waits on its own socket to be told what to become."""
        mark = self._jail.mark()
        pid = os.fork()
        if pid == 0:
            _wait_for_program(fds, self._jail)
        self._programs[pid] = _Program(mark)
        for fd in fds:
            os.close(fd)
        return pid

    def _work(self, request: Request, fds: list[int]) -> None:
        self._jail.mark()
        if os.fork() == 0:
            try:
                from atoll.guest import filework  # noqa: PLC0415 (few sandboxes ever need it)

                _signal.set_wakeup_fd(-1)
                _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
                self._control.close()
                request["disk_bytes"] = self._request["disk_bytes"]
                filework.serve(request, socket.socket(fileno=fds[0]))
            finally:
                os._exit(0)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            program = self._programs.pop(pid, None)
            if program is not None:
                message.send(self._control, {
                    "op": "exit", "pid": pid, "status": status,
                    "cpu_s": usage.ru_utime + usage.ru_stime,
                    "peak": usage.ru_maxrss * 1024,
                    "full": _disk_full(), "memory": program.memory,
                })  # fmt: skip

    def _watch_memory(self) -> None:
        """Where no cgroup bounds memory: end everything once the sum is over the limit."""
        limit = self._request["memory_poll_bytes"]
        pids = [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        self._strays = bool(pids)
        if held_bytes(pids, limit) <= limit:
            return
        for program in list(self._programs.values()):
            program.memory = True
            kill_marked(program.mark)
        _send(-1, _SIGKILL)  # and what outlived the program that started it


def _wait_for_program(fds: list[int], jail: start.Confinement) -> NoReturn:
    try:
        report, _ = start.plumb(fds[1:4], fds[0], None)
        jail.confine(3600)
        sock = socket.socket(fileno=report)
        received = message.receive(sock)
        if received is not None:
            request, blob, extra = received
            jail.limit_cpu(request["cpu_s"])
            start.become(request, blob, extra[0] if extra else None, sock.detach())
    finally:
        os._exit(127)


def kill_marked(mark: int) -> None:
    """Kill every process that carries the mark. Stopped first, so that none can fork away."""
    seen: set[int] = set()
    for _ in range(_KILL_ROUNDS):
        new = [pid for pid in _marked(mark) if pid not in seen]
        if not new:
            break
        for pid in new:
            _send(pid, _SIGSTOP)
        seen.update(new)
    for _ in range(_KILL_ROUNDS):
        left = list(_marked(mark))
        if not left:
            return
        for pid in left:
            _send(pid, _SIGKILL)


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _marked(mark: int) -> list[int]:
    found: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{name}/ns/cgroup").st_ino == mark:
                    found.append(int(name))
    return found


def held_bytes(pids: list[str], limit: int) -> int:
    """Memory that these processes hold.

    Exact only when it may be over `limit`: then a page that several share, as forks do, counts
    once, and pages of files do not count.
    """
    resident = _detached_bytes()
    private: dict[str, int] = {}
    for name in pids:
        with contextlib.suppress(OSError, IndexError, ValueError):
            fields = _text(f"/proc/{name}/statm").split()
            resident += int(fields[1]) * _PAGE
            private[name] = (int(fields[1]) - int(fields[2])) * _PAGE
    if resident <= limit:
        return resident
    return _detached_bytes() + sum(_share(name, most) for name, most in private.items())


def _share(pid: str, private: int) -> int:
    """A process's part of all memory that is no file's; `private` where nobody tells."""
    try:
        text = _text(f"/proc/{pid}/smaps_rollup")
        return 1024 * sum(
            int(text.partition(key)[2].split(None, 1)[0]) for key in (b"Pss_Anon:", b"Pss_Shmem:")
        )
    except (OSError, IndexError, ValueError):
        return private


def _detached_bytes() -> int:
    """System V segments that no process has attached."""
    total = 0
    with contextlib.suppress(OSError, IndexError, ValueError):
        for line in _text("/proc/sysvipc/shm").splitlines()[1:]:
            fields = line.split()
            total += int(fields[14]) if fields[6] == b"0" else 0
    return total


def _text(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(64 * 1024)


def _disk_full() -> bool:
    """Whether the writable part has no room left, in bytes or in files."""
    try:
        found = os.statvfs("/tmp")
    except OSError:
        return False
    return found.f_bavail == 0 or found.f_favail == 0
