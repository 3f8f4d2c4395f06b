"""From a fresh fork of the zygote to a program of the guest's, or to a worker. On the far side.

A program joins the sandbox's namespaces, gives up every right and waits on its own socket to be
told what to become. A worker keeps its rights, which end at the sandbox's user namespace, and no
guest can see, signal or trace it, since it has no pid in there.
"""

import _signal
import os
import resource
import socket
from typing import Any, NoReturn

from atoll.guest import start
from atoll.jail import mounts
from atoll.jail import syscalls as sys_
from atoll.wire import message

_JOINED = (
    sys_.CLONE_NEWUSER | sys_.CLONE_NEWNS | sys_.CLONE_NEWIPC | sys_.CLONE_NEWUTS
    | sys_.CLONE_NEWNET
)  # fmt: skip
_OOM_FIRST = b"500"

Request = dict[str, Any]


def prepare(seccomp: bytes) -> None:
    """What all forks have in common, done once: limits, and the filter, less its last part."""
    fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    os.write(fd, _OOM_FIRST)
    os.close(fd)
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_MEMLOCK, 64 * 1024)
    lower(resource.RLIMIT_MSGQUEUE, 0)
    os.umask(0o022)
    sys_.prctl(sys_.PR_SET_DUMPABLE, 0)
    sys_.prctl(sys_.PR_SET_NO_NEW_PRIVS, 1)
    sys_.install_filter(seccomp)


def lower(what: int, soft: int, hard: int | None = None) -> None:
    """Lower a limit; never raises one, since the host may have forbidden that."""
    _, ceiling = resource.getrlimit(what)
    hard = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        hard = min(hard, ceiling)
    resource.setrlimit(what, (min(soft, hard), hard))


def become_program(request: Request, fds: list[int], final: bytes, cover: mounts.Cover) -> NoReturn:
    """`fds` are pidfd, socket, stdin, stdout and stderr (no streams with a tty), and groups.

    Says its pid on the socket when it is confined, with the terminal's other end if it has one;
    what goes wrong later is one JSON object there.
    """
    try:
        tty = request.get("tty")
        count = 2 if tty else 5
        pidfd, report, *stdio = fds[:count]
        _join(pidfd, fds[count:])
        if request["first"]:
            mounts.proc(cover)
        # Its number marks whatever descends from this program, double forks and new sessions
        # included: the guest can neither leave the namespace nor make another (seccomp).
        sys_.unshare(sys_.CLONE_NEWCGROUP)
        masters: list[int] = []
        if tty:
            stdio, masters = start.terminal(tty["rows"], tty["cols"])
        fds[1], masters = start.plumb(stdio, report, masters)
        if tty:
            start.control_terminal()
        _confine(request, final)
        sock = socket.socket(fileno=fds[1])
        socket.send_fds(sock, [b"%d" % os.getpid()], masters)
        for fd in masters:
            os.close(fd)
        if request.get("rehearse"):
            start.rehearse()
        received = message.receive(sock)
        if received is not None:
            order, blob, extra = received
            limit_cpu(order["cpu_s"])
            start.become(order, blob, extra[0] if extra else None, sock.detach())
    except BaseException as error:  # noqa: BLE001 (no caller; whoever waits for the pid is told)
        os.write(fds[1], f"{type(error).__name__}: {error}".encode()[:500])
    finally:
        os._exit(127)


def become_worker(request: Request, fds: list[int]) -> NoReturn:
    """`fds` are the pidfd alone, or with a socket and groups."""
    try:
        pidfd, *rest = fds
        # /proc/self means nothing in a /proc of a namespace that one is not in.
        own = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _signal.set_wakeup_fd(-1)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        _join(pidfd, rest[1:])
        os.chdir("/")
        start.close_all_but(own, *rest[:1])
        from atoll.guest import work  # noqa: PLC0415 (few fresh sandboxes ever need it)

        sock = socket.socket(fileno=rest[0]) if rest else None
        work.serve(request, sock, own)
    finally:
        os._exit(0)


def _join(pidfd: int, groups: list[int]) -> None:
    for fd in groups:
        os.write(fd, b"0")
    sys_.setns(pidfd, _JOINED)


def _confine(request: Request, final: bytes) -> None:
    """Drop every right, lower every limit, load the last of the filter. One-way."""
    lower(resource.RLIMIT_NOFILE, request["open_files"])
    lower(resource.RLIMIT_FSIZE, request["disk_bytes"])
    lower(resource.RLIMIT_NPROC, request["nproc"])
    if request["data_bytes"]:
        lower(resource.RLIMIT_DATA, request["data_bytes"])
    sys_.drop_capabilities()
    sys_.prctl(sys_.PR_SET_DUMPABLE, 1)
    sys_.install_filter(final)


def limit_cpu(cpu_s: float) -> None:
    """In whole seconds, rounded up: SIGXCPU at the limit, SIGKILL two seconds later."""
    cpu = max(1, int(cpu_s + 0.999))
    lower(resource.RLIMIT_CPU, cpu, cpu + 2)
