"""The system calls that Python's `os` module lacks, by ctypes. Runs on the far side too.

Each raises `OSError` with the call's name and arguments, so that a failure says what failed.
Numbers: Linux `arch/x86/entry/syscalls/syscall_64.tbl` and `include/uapi/asm-generic/unistd.h`.
"""

import ctypes
import fcntl
import os
import socket
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
SIGCHLD = 17
_SHARED = 0x00000100 | 0x00000400 | SIGCHLD  # CLONE_VM, CLONE_FILES

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2

_AT_RECURSIVE = 0x8000
_AT_EMPTY_PATH = 0x1000
_MOUNT_ATTR = {"ro": 0x1, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8}
_CAPABILITY_VERSION_3 = 0x20080522

_NUMBERS = {
    "x86_64": {"clone": 56, "pivot_root": 155, "mount_setattr": 442},
    "aarch64": {"clone": 220, "pivot_root": 41, "mount_setattr": 442},
}
_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x1 | 0x40

# PyDLL keeps the interpreter's lock: a clone in between must not find it half released.
_libc = ctypes.PyDLL(None, use_errno=True)
_number = _NUMBERS.get(os.uname().machine, {})


def _check(result: int, *what: object) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{os.strerror(errno)}: {' '.join(map(str, what))}")
    return result


def _syscall(name: str, *args: object) -> int:
    if name not in _number:
        raise OSError(38, f"{name} is not known on {os.uname().machine}")
    return int(_libc.syscall(ctypes.c_long(_number[name]), *args))


def clone(flags: int) -> int:
    """Fork into new namespaces in one step: 0 in the child, else the child's pid.

    Only for a process with a single thread: pthread_atfork handlers do not run, Python's do.
    """
    api = ctypes.pythonapi
    api.PyOS_BeforeFork()
    zero = ctypes.c_long(0)
    pid = _syscall("clone", ctypes.c_long(flags | SIGCHLD), zero, zero, zero, zero)
    if pid == 0:
        api.PyOS_AfterFork_Child()
        return 0
    errno = ctypes.get_errno()
    api.PyOS_AfterFork_Parent()
    ctypes.set_errno(errno)
    return _check(pid, "clone", hex(flags))


def pause(flags: int, stack_top: int) -> int:
    """Clone a process that shares our memory and descriptors and sleeps for ever; its pid.

    It is the first process of a new pid namespace and holds the others open. All of them may have
    the same stack: each writes the same two words to it and returns from nothing. The caller must
    have no signal handlers, since the clone would run them; what it ignores, the clone ignores.
    """
    function = ctypes.cast(_libc.pause, ctypes.c_void_p)
    pid = _libc.clone(function, ctypes.c_void_p(stack_top), ctypes.c_int(flags | _SHARED), None)
    return _check(pid, "clone", hex(flags))


def setns(fd: int, flags: int) -> None:
    """Join namespaces: those of a process, by its pidfd (Linux 5.8), or the one `fd` stands for."""
    _check(_libc.setns(ctypes.c_int(fd), ctypes.c_int(flags)), "setns", hex(flags))


def unshare(flags: int) -> None:
    """Leave the namespaces of the caller for new ones."""
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare", hex(flags))


def mount(source: str, target: str, kind: str | None, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    _check(
        _libc.mount(
            source.encode(),
            target.encode(),
            kind.encode() if kind is not None else None,
            ctypes.c_ulong(flags),
            data.encode() if data else None,
        ),
        "mount", kind or "bind", source, "on", target, data,
    )  # fmt: skip


def umount(target: str, flags: int = 0) -> None:
    """umount2(2)."""
    _check(_libc.umount2(target.encode(), ctypes.c_int(flags)), "umount", target)


def set_mount_flags(target: str, *names: str, recursive: bool = True) -> None:
    """Set `ro`, `nosuid`, `nodev`, `noexec` on a mount and all mounts beneath (Linux 5.12)."""
    bits = 0
    for name in names:
        bits |= _MOUNT_ATTR[name]
    attr = struct.pack("QQQQ", bits, 0, 0, 0)
    _check(
        _syscall(
            "mount_setattr",
            ctypes.c_int(-100),
            target.encode(),
            ctypes.c_uint(_AT_RECURSIVE if recursive else 0),
            attr,
            ctypes.c_size_t(len(attr)),
        ),
        "mount_setattr", target, names,
    )  # fmt: skip


def pivot_root(new_root: str) -> None:
    """Make `new_root` the root and detach the old tree: nothing of it can be named any more."""
    os.chdir(new_root)
    _check(_syscall("pivot_root", b".", b"."), "pivot_root", new_root)
    umount(".", MNT_DETACH)
    os.chdir("/")


def prctl(option: int, arg: int = 0, *more: int) -> int:
    """prctl(2) with integer arguments."""
    rest = [ctypes.c_ulong(value) for value in (arg, *more, 0, 0, 0)][:4]
    return _check(_libc.prctl(ctypes.c_int(option), *rest), "prctl", option, arg)


def set_name(name: str) -> None:
    """The name that `ps` shows; 15 bytes."""
    _libc.prctl(ctypes.c_int(PR_SET_NAME), ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)


def drop_capabilities() -> None:
    """Give up every capability, for good: bounding set, ambient, permitted, inheritable."""
    capability = 0
    while _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    _libc.prctl(ctypes.c_int(PR_CAP_AMBIENT), ctypes.c_ulong(PR_CAP_AMBIENT_CLEAR_ALL), 0, 0, 0)
    header = struct.pack("Ii", _CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, bytes(24)), "capset")


def install_filter(program: bytes) -> None:
    """Install a seccomp program (an array of `struct sock_filter`) for ever. One-way."""
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    _check(
        _libc.prctl(
            ctypes.c_int(PR_SET_SECCOMP),
            ctypes.c_ulong(SECCOMP_MODE_FILTER),
            ctypes.c_char_p(fprog),
            0,
            0,
        ),
        "seccomp",
    )


def loopback_up() -> None:
    """Bring up `lo` in a new network namespace; it gets 127.0.0.1 and ::1."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP_RUNNING))
