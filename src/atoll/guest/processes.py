"""Look at a sandbox's processes and end them, from outside of its pid namespace.

Numbers are those of the sandbox's own /proc. A process is opened before it is looked at, and what
was opened is signalled, so that a number used again hits nobody else.
"""

import contextlib
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator

_ROUNDS = 200
_POLL_MS = 20
_IDLE_POLLS = 50
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _numbers() -> list[str]:
    """All but the first, which only holds the namespaces."""
    return [name for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def _opened(wanted: Callable[[int], bool]) -> Iterator[tuple[str, int]]:
    """Number and descriptor of each process that `wanted` says yes to, given the descriptor."""
    for name in _numbers():
        with contextlib.suppress(OSError):
            fd = os.open(f"/proc/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if wanted(fd):
                    yield name, fd
            finally:
                os.close(fd)


def _mark(fd: int) -> int:
    return os.stat("ns/cgroup", dir_fd=fd).st_ino


def kill_marked(pid: int) -> None:
    """Kill a program and all that descends from it."""
    with contextlib.suppress(OSError):
        mark = os.stat(f"/proc/{pid}/ns/cgroup").st_ino
        _kill(lambda fd: _mark(fd) == mark)


def _kill(wanted: Callable[[int], bool]) -> None:
    """Kill every process that is wanted. Stopped first, so that none can fork away."""
    seen: set[str] = set()
    for _ in range(_ROUNDS):
        before = len(seen)
        for name, fd in _opened(wanted):
            if name not in seen:
                seen.add(name)
                _send(fd, signal.SIGSTOP)
        if len(seen) == before:
            break
    for _ in range(_ROUNDS):
        left = 0
        for _, fd in _opened(wanted):
            left += 1
            _send(fd, signal.SIGKILL)
        if not left:
            return


def _send(fd: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        signal.pidfd_send_signal(fd, number)


def signal_group(group: int, number: int) -> None:
    """Send a signal to every process of a process group."""
    for _, fd in _opened(lambda fd: _group(fd) == group):
        _send(fd, number)


def _group(fd: int) -> int:
    return int(_text("stat", fd).rpartition(b")")[2].split()[2])


def watch_memory(limit: int, sock: socket.socket) -> None:
    """Where no cgroup bounds memory: say so and end everything once the sum is over the limit.

    Returns when the server is gone, or nothing runs in the sandbox any more.
    """
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    idle = 0
    while idle < _IDLE_POLLS and not poll.poll(_POLL_MS):
        pids = _numbers()
        idle = 0 if pids else idle + 1
        if held_bytes(pids, limit) > limit:
            with contextlib.suppress(OSError):
                sock.send(b"over")
            _kill(lambda _: True)


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


def _text(path: str, directory: int | None = None) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        return os.read(fd, 64 * 1024)
    finally:
        os.close(fd)
