"""From a fresh clone of the zygote to the init of a sandbox. Runs on the far side.

The init keeps its rights inside its own user namespace (it mounts, kills, and works on files for
the server); the guest can neither see nor trace it. Each program it starts passes `confine` first
and has no rights at all.
"""

import _signal
import os
import resource
import socket
from typing import Any, NoReturn

from atoll.guest import agent
from atoll.guest.start import Confinement
from atoll.jail import mounts
from atoll.jail import syscalls as sys_
from atoll.jail.launch import map_ids

UID = 1000
NAMESPACES = (
    sys_.CLONE_NEWUSER | sys_.CLONE_NEWNS | sys_.CLONE_NEWPID | sys_.CLONE_NEWIPC
    | sys_.CLONE_NEWUTS | sys_.CLONE_NEWNET
)  # fmt: skip
_OOM_FIRST = b"500"


class Jail(Confinement):
    """What every program of a sandbox goes through before its first instruction."""

    def __init__(self, request: dict[str, Any], seccomp: bytes) -> None:
        self._request = request
        self._seccomp = seccomp

    def mark(self) -> int:
        """Enter a new cgroup namespace; its number marks whatever is forked from now on.

        The guest can neither leave the namespace nor make another (seccomp), so the mark tells
        which processes descend from which start, double forks and new sessions included.
        """
        sys_.unshare(sys_.CLONE_NEWCGROUP)
        return os.stat("/proc/self/ns/cgroup").st_ino

    def confine(self, cpu_s: float) -> None:
        """Drop every right, lower every limit, load the filter. One-way."""
        request = self._request
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(_OOM_FIRST)
        lower(resource.RLIMIT_CORE, 0)
        self.limit_cpu(cpu_s)
        lower(resource.RLIMIT_NOFILE, request["open_files"])
        lower(resource.RLIMIT_FSIZE, request["disk_bytes"])
        lower(resource.RLIMIT_MEMLOCK, 64 * 1024)
        lower(resource.RLIMIT_MSGQUEUE, 0)
        lower(resource.RLIMIT_NPROC, request["nproc"])
        if request["data_bytes"]:
            lower(resource.RLIMIT_DATA, request["data_bytes"])
        os.umask(0o022)
        sys_.drop_capabilities()
        sys_.prctl(sys_.PR_SET_DUMPABLE, 1)
        sys_.prctl(sys_.PR_SET_NO_NEW_PRIVS, 1)
        sys_.install_filter(self._seccomp)

    def limit_cpu(self, cpu_s: float) -> None:
        """In whole seconds, rounded up: SIGXCPU at the limit, SIGKILL two seconds later."""
        cpu = max(1, int(cpu_s + 0.999))
        lower(resource.RLIMIT_CPU, cpu, cpu + 2)


def lower(what: int, soft: int, hard: int | None = None) -> None:
    """Lower a limit; never raises one, since the host may have forbidden that."""
    _, ceiling = resource.getrlimit(what)
    hard = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        hard = min(hard, ceiling)
    resource.setrlimit(what, (min(soft, hard), hard))


def run(request: dict[str, Any], fds: list[int], seccomp: bytes, cover: mounts.Cover) -> NoReturn:
    """Become the init of a sandbox.

    `fds` are control, standby, stdin, stdout, stderr, and one per cgroup. The standby is the
    socket on which a warm interpreter waits, with those standard streams; without `standby` in
    the request there are only control and cgroups.
    """
    control = socket.socket(fileno=fds[0])
    try:
        _enter(request, fds, cover)
        jail = Jail(request, seccomp)
        agent.run(control, fds[1:5] if request["standby"] else None, jail, request)
    except BaseException as error:  # noqa: BLE001 (the init of a sandbox has no caller)
        agent.tell_fatal(control, error)
    os._exit(1)


def _enter(request: dict[str, Any], fds: list[int], cover: mounts.Cover) -> None:
    map_ids(UID, 0, 0)
    keep = fds[: 5 if request["standby"] else 1]
    for fd in fds[len(keep) :]:
        os.write(fd, b"0")
    _close_all_but(keep)
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    sys_.prctl(sys_.PR_SET_DUMPABLE, 0)
    socket.sethostname(request["hostname"])
    sys_.loopback_up()
    mounts.arrange(request, cover)
    os.chdir("/")


def _close_all_but(keep: list[int]) -> None:
    previous = 2
    for fd in [*sorted(keep), 1 << 16]:
        os.closerange(previous + 1, fd)
        previous = fd
