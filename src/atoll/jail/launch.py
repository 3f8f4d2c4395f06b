"""From a program on the host to a maker and its zygote inside an image. Runs on the far side.

    server ── exec ──> launcher ── clone(user mount pid ipc uts net) ──> pid 1: exec the image's
                       (waits, passes death on)                          own python3: the maker
                                                                         └── fork: the zygote

As root the tree is built with root's rights, so that it may come from anywhere, and every right
is given up before the clone: inside and outside of the jail the zygote is an ordinary user.
Without root the tree is built inside the new user namespace. Nothing else differs.
"""

import os
import signal
import sys
from typing import Any, NoReturn

from atoll.jail import rootfs
from atoll.jail import syscalls as sys_

STAGING = "/tmp"
BUNDLE = 3
CONTROL = 4
LOADER = f"exec(open({BUNDLE},closefd=0).read())"
NAMESPACES = (
    sys_.CLONE_NEWUSER | sys_.CLONE_NEWNS | sys_.CLONE_NEWPID | sys_.CLONE_NEWIPC
    | sys_.CLONE_NEWUTS | sys_.CLONE_NEWNET
)  # fmt: skip
# What every program of a guest's finds, unless it is given something else.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/atoll/bin",
    "HOME": "/home/user",
    "USER": "user",
    "LOGNAME": "user",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
}
# While modules are preloaded: a process with threads cannot be forked.
SINGLE = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main(config: dict[str, Any]) -> NoReturn:
    """Never returns: becomes the maker's guardian, and ends with it."""
    die_with_parent(config["parent"])
    uid = config.get("uid")
    if uid is not None:
        sys_.unshare(sys_.CLONE_NEWNS)
        rootfs.build(STAGING, config)
        sys_.mount("/proc", f"{STAGING}/proc", None, sys_.MS_BIND | sys_.MS_REC)
        sys_.pivot_root(STAGING)
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        sys_.prctl(sys_.PR_SET_DUMPABLE, 1)
        die_with_parent(config["parent"])
    outer_uid, outer_gid = os.getuid(), os.getgid()
    pid = sys_.clone(NAMESPACES)
    if pid:
        os.close(CONTROL)
        os.close(BUNDLE)
        _, status = os.waitpid(pid, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    map_ids(0, outer_uid, outer_gid)
    sys_.prctl(sys_.PR_SET_PDEATHSIG, signal.SIGKILL)
    if uid is None:
        rootfs.build(STAGING, config)
        proc = f"{STAGING}/proc"
    else:
        proc = "/proc"
    sys_.mount("proc", proc, "proc", sys_.MS_NOSUID | sys_.MS_NODEV | sys_.MS_NOEXEC)
    if uid is None:
        sys_.pivot_root(STAGING)
        sys_.set_mount_flags("/", "ro", "nosuid", recursive=False)
    _exec_python()


def die_with_parent(parent: int) -> None:
    """Be killed when the process that started us ends, whatever ends it."""
    sys_.prctl(sys_.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def run(config: dict[str, Any]) -> NoReturn:
    """Entry point; what goes wrong is one line on stderr and exit code 1."""
    try:
        main(config)
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        sys.stderr.flush()
        os._exit(1)


def map_ids(inside: int, outer_uid: int, outer_gid: int, pid: int | None = None) -> None:
    """Map one user and one group of the outer user namespace to `inside`; no others exist.

    For oneself, or for a process whose namespace one has all rights in.
    """
    texts = [("uid_map", f"{inside} {outer_uid} 1"), ("gid_map", f"{inside} {outer_gid} 1")]
    if pid is None:
        texts.insert(0, ("setgroups", "deny"))
    for name, text in texts:
        fd = os.open(f"/proc/{pid or 'self'}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def _exec_python() -> NoReturn:
    """Replace ourselves by the image's python3.

    Its own stdin, stdout and stderr are pipes, because Python remembers what they were when it
    started and children inherit the memory.
    """
    reading, writing = os.pipe()
    for wanted, fd in ((0, reading), (1, writing), (2, writing)):
        os.dup2(fd, wanted)
    os.closerange(CONTROL + 1, 1 << 16)
    os.lseek(BUNDLE, 0, os.SEEK_SET)
    os.execve("/usr/bin/python3", ["python3", "-u", "-c", LOADER], ENVIRONMENT | SINGLE)
