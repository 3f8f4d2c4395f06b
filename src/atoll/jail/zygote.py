"""A warm interpreter that forks programs into sandboxes. Runs on the far side, single-threaded.

Requests come from the maker: `start` a program, `work` for the server inside a sandbox, `end` what
works there. Each is a fork that joins the sandbox's namespaces; how it ended is told to the server
under the number that the server gave it. The zygote knows no more of a sandbox than its id.
"""

import _signal
import gc
import importlib
import os
import select
import socket
import sys
from typing import Any, NoReturn

from atoll.jail import child, mounts
from atoll.jail import syscalls as sys_
from atoll.jail.launch import SINGLE
from atoll.wire import message

# What short scripts import most and what our own code needs. Each module costs every fork the
# copying of its pages, so what starts threads, registers fork hooks or loads large libraries
# (ssl, asyncio, logging, subprocess) is left to those programs that import it.
COMMON = (
    "bisect", "collections", "contextlib", "copy", "datetime", "enum", "errno", "fcntl",
    "fnmatch", "functools", "heapq", "io", "itertools", "json", "keyword", "math", "operator",
    "os", "re", "resource", "select", "signal", "socket", "stat", "string", "struct",
    "sys", "termios", "time", "types", "typing",
)  # fmt: skip
# What only some workers import: compiled once, for all of them.
LATE = (
    "atoll.guest.work", "atoll.guest.processes", "atoll.guest.filework", "atoll.wire.stream",
    "atoll.guest.watching", "atoll.guest.pack", "atoll.guest.whole", "atoll.guest.forward",
    "atoll.guest.dialing",
)  # fmt: skip


def run(config: dict[str, Any], control: socket.socket, requests: socket.socket) -> NoReturn:
    """Never returns: forks until the maker is gone."""
    try:
        warm(config["preload"])
        sys_.set_name("atoll-zygote")
        final = bytes.fromhex(config["final"])
        child.prepare(bytes.fromhex(config["seccomp"]))
        message.send(control, {"op": "ready", "version": sys.version.split()[0]})
        Zygote(control, requests, final).serve()
    except BaseException as error:  # noqa: BLE001 (nobody above; the server is told)
        detail = f"{type(error).__name__}: {error}"
        message.send(control, {"op": "fatal", "detail": detail[:2000]})
    os._exit(0)


def warm(preload: list[str]) -> None:
    """Import what forks should find imported. Raises when that started a thread."""
    for name in COMMON:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    for name in preload:
        module = importlib.import_module(name)
        if name.startswith("atoll."):
            # Of ours, all are imported early where sandboxes are kept; this one is wanted.
            module.warm()
    bundle: Any = next(one for one in sys.meta_path if type(one).__name__ == "AtollBundle")
    for name in LATE:
        if name not in sys.modules:
            bundle.compile(name)
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError(
            f"preloading {preload} started threads, and a process with threads cannot be forked"
        )
    for name in SINGLE:
        os.environ.pop(name, None)
    sys.path_importer_cache.clear()
    gc.collect()
    gc.freeze()


class Forker:
    """Forks on request, and tells how each fork ended. What a fork becomes is its subclass's."""

    def __init__(self, control: socket.socket, requests: socket.socket) -> None:
        self._control = control
        self._requests = requests
        self._forks: dict[int, tuple[str, int]] = {}

    def serve(self) -> None:
        """Fork and reap until whoever sends requests is gone."""
        wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        _signal.signal(_signal.SIGCHLD, _noted)
        _signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        poll = select.poll()
        poll.register(self._requests, select.POLLIN)
        poll.register(wake, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            if wake in ready:
                os.read(wake, 4096)
                self._reap()
            if self._requests.fileno() in ready:
                received = message.receive(self._requests)
                if received is None:
                    return
                request, _, fds = received
                self._hear(request, fds)
                for fd in fds:
                    os.close(fd)

    def _hear(self, request: message.Header, fds: list[int]) -> None:
        if request["op"] == "end":
            self._end(request["id"])
        else:
            self._fork(request, fds)

    def _fork(self, request: message.Header, fds: list[int]) -> None:
        try:
            self._aim(request, fds)
            pid = os.fork()
        except OSError as error:
            self._report(request["n"], None, detail=str(error))
            return
        if pid == 0:
            self._become(request, fds)
        self._forks[pid] = (request["id"], request["n"])
        self._rehearse()

    def _rehearse(self) -> None:
        """Touch now what a report touches: a page that a fork shares is copied when it is written.

        Else the end of a program would wait for that.
        """
        self._reap()
        message.encode({"op": "exit", "n": 0, "status": 0, "cpu_s": 0.01, "peak": 1024})

    def _aim(self, request: message.Header, fds: list[int]) -> None:
        """Arrange where the next fork will be. Raises `OSError`."""

    def _become(self, request: message.Header, fds: list[int]) -> NoReturn:
        """Be what was asked for, in the fork."""
        raise NotImplementedError

    def _end(self, sandbox_id: str) -> None:
        for pid, (owner, _) in self._forks.items():
            if owner == sandbox_id:
                os.kill(pid, _signal.SIGKILL)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            _, number = self._forks.pop(pid)
            if number:
                cpu_s = usage.ru_utime + usage.ru_stime
                self._report(number, status, cpu_s=cpu_s, peak=usage.ru_maxrss * 1024)

    def _report(self, number: int, status: int | None, **more: Any) -> None:
        if number:
            message.send(self._control, {"op": "exit", "n": number, "status": status, **more})


class Zygote(Forker):
    """The forks of one image."""

    def __init__(self, control: socket.socket, requests: socket.socket, final: bytes) -> None:
        super().__init__(control, requests)
        self._final = final
        self._cover = mounts.Cover("/proc")
        self._home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def _aim(self, request: message.Header, fds: list[int]) -> None:
        """Programs live in the sandbox's pid namespace; workers do not, so no guest sees them."""
        sys_.setns(fds[0] if request["op"] == "start" else self._home, sys_.CLONE_NEWPID)

    def _become(self, request: message.Header, fds: list[int]) -> NoReturn:
        if request["op"] == "start":
            child.become_program(request, fds, self._final, self._cover)
        child.become_worker(request, fds)


def _noted(_number: int, _frame: object) -> None:
    """Exist, so that SIGCHLD reaches the wake-up descriptor."""
