"""Changes in one directory, by inotify, as JSON lists in data frames until the reader leaves."""

import ctypes
import json
import os
import select
import struct
from typing import Any

from atoll.wire import paths, stream

Request = dict[str, Any]
_EVENT = struct.Struct("iIII")
_MASKS = {
    0x00000100: "created", 0x00000080: "created", 0x00000008: "modified",
    0x00000200: "removed", 0x00000040: "removed", 0x00000004: "modified",
}  # fmt: skip
_SELF_GONE = 0x00000400 | 0x00000800 | 0x00008000
_OVERFLOW = 0x00004000
_WATCHED = 0x00000100 | 0x000000C0 | 0x00000008 | 0x00000200 | 0x00000004 | 0x00000C00


def watch(root: int, request: Request, duplex: stream.Duplex) -> Request:
    """Send `[[kind, path], …]` per burst; ends when the directory goes or the reader leaves."""
    libc = ctypes.CDLL(None, use_errno=True)
    directory = paths.open_in(root, request["path"], os.O_RDONLY | os.O_DIRECTORY)
    notify = int(libc.inotify_init1(os.O_CLOEXEC))
    if notify < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    os.fchdir(directory)
    if libc.inotify_add_watch(notify, b".", _WATCHED) < 0:
        raise OSError(ctypes.get_errno(), "inotify")
    duplex.send(json.dumps([]).encode())
    poll = select.poll()
    poll.register(notify, select.POLLIN)
    poll.register(duplex.fileno(), select.POLLIN | select.POLLHUP)
    prefix = request["path"].rstrip("/")
    while True:
        ready = dict(poll.poll())
        if duplex.fileno() in ready:
            return {}
        found, gone = _parse(os.read(notify, 64 * 1024), prefix)
        changes = [each for each in found if not _nameless(directory, each[1])]
        if changes:
            duplex.send(json.dumps(changes).encode("ascii"))
        if gone:
            return {}


def _nameless(directory: int, path: str) -> bool:
    """Whether it is the kernel's word for a file that has no name yet (`O_TMPFILE`)."""
    name = path.rpartition("/")[2]
    if not (name[:1] == "#" and name[1:].isdigit()):
        return False
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return False


def _parse(raw: bytes, prefix: str) -> tuple[list[list[str]], bool]:
    changes: list[list[str]] = []
    offset, gone = 0, False
    while offset + _EVENT.size <= len(raw):
        _, mask, _, length = _EVENT.unpack_from(raw, offset)
        offset += _EVENT.size
        name = os.fsdecode(raw[offset : offset + length].rstrip(b"\0"))
        offset += length
        if mask & _SELF_GONE:
            gone = True
        if mask & _OVERFLOW:
            changes.append(["overflow", prefix or "/"])
        for bit, kind in _MASKS.items():
            if mask & bit and name and not name.startswith(".atoll-"):
                changes.append([kind, f"{prefix}/{name}"])
                break
    return changes, gone
