"""The few system calls that the standard library of Python 3.11 does not wrap."""

import ctypes
import os

from atoll.cli.doctor.child import ProbeFailed

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REC = 0x4000
MS_PRIVATE = 0x40000

SYS_LANDLOCK_CREATE_RULESET = 444
PR_SET_NO_NEW_PRIVS = 38
PR_SET_DUMPABLE = 4

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int, step: str) -> None:
    """Leave the namespaces named by the flags; `ProbeFailed` says which step could not."""
    _check(_libc.unshare(ctypes.c_int(flags)), step)


def mount(source: str, target: str, kind: str, flags: int, data: str, step: str) -> None:
    """Mount in the child's own mount namespace."""
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode(),
        ctypes.c_ulong(flags),
        data.encode(),
    )
    _check(result, step)


def prctl(option: int, value: int, step: str) -> None:
    """Set one attribute of this process."""
    zero = ctypes.c_ulong(0)
    _check(_libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero), step)


def syscall(number: int, *arguments: int | ctypes.c_void_p | None) -> int:
    """Call the kernel by number; -1 and `errno()` on failure."""
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return int(_libc.syscall(ctypes.c_long(number), *wide))


def errno() -> int:
    """Why the last call failed."""
    return ctypes.get_errno()


def _check(result: int, step: str) -> None:
    if result != 0:
        raise ProbeFailed(f"{step}: {os.strerror(ctypes.get_errno())}")
