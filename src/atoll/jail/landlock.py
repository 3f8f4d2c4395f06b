"""Landlock (Linux 5.13): a process gives up all files but those beneath some directories, for good.

It is not used inside of namespaces, where mounts do the same (docs/decisions/0002). Numbers: Linux
`include/uapi/linux/landlock.h`.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Sequence

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_TRUNCATE = 1 << 14
# How many rights over files each version knows: REFER came with 2, TRUNCATE 3, IOCTL_DEV 5.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
_RIGHTS_SINCE_5 = 16
_EXECUTE, _MAKE_CHAR, _MAKE_BLOCK, _IOCTL_DEV = 1 << 0, 1 << 6, 1 << 11, 1 << 15
_NEVER = _EXECUTE | _MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV
_NETWORK_SINCE, _SCOPES_SINCE = 4, 6
_NETWORK = 0b11  # bind and connect, TCP
_SCOPES = 0b11  # abstract sockets and signals of others

_libc = ctypes.PyDLL(None, use_errno=True)


def version() -> int:
    """What the kernel has of it; 0 is nothing."""
    found = _libc.syscall(ctypes.c_long(_CREATE), None, ctypes.c_size_t(0), _VERSION_FLAG)
    return max(0, int(found))


def restrict(writable: Sequence[int], readable: Sequence[int]) -> bool:
    """Leave only what is at or beneath those descriptors; False where the kernel cannot.

    Nothing beneath them can be executed. Wants `no_new_privs`. Raises `OSError`.
    """
    abi = version()
    if not abi:
        return False
    everything = (1 << _RIGHTS.get(abi, _RIGHTS_SINCE_5)) - 1
    fields = [everything]
    fields += [_NETWORK] if abi >= _NETWORK_SINCE else []
    fields += [_SCOPES] if abi >= _SCOPES_SINCE else []
    attr = struct.pack(f"{len(fields)}Q", *fields)
    ruleset = _called(_CREATE, attr, ctypes.c_size_t(len(attr)), 0)
    try:
        for fd in writable:
            _allow(ruleset, fd, everything & ~_NEVER)
        for fd in readable:
            _allow(ruleset, fd, _READ_FILE | _READ_DIR)
        _called(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, fd: int, rights: int) -> None:
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        rights &= _WRITE_FILE | _READ_FILE | _TRUNCATE
    _called(_ADD, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, fd), 0)


def _called(number: int, *args: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *args))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{os.strerror(error)}: Landlock, call {number}")
    return result
