"""The one boundary for paths: opened beneath a root with openat2, never through /proc's links.

`RESOLVE_IN_ROOT` makes absolute links and `..` lead only inside the root, and every magic link
(`/proc/self/root`, `/proc/1/fd/3`) is refused. Linux 5.6.
"""

import contextlib
import ctypes
import errno
import os
import stat
import struct
from collections.abc import Generator

COMPONENT_MAX = 255
PATH_MAX = 4095
_OPENAT2 = 437
_NO_MAGICLINKS = 0x02
_NO_SYMLINKS = 0x04
_IN_ROOT = 0x10
_libc = ctypes.CDLL(None, use_errno=True)


class BadPath(ValueError):
    """Text that cannot be a path here. The message says why."""


def clean(path: str, base: str = "/") -> str:
    """The path as an absolute one without `.`, `..` or doubled slashes; text only.

    Raises `BadPath` for NUL bytes, names over 255 bytes, paths over 4095, and a `..` that would
    leave the root, so that a client learns of a mistake instead of being silently redirected.
    """
    if "\0" in path:
        raise BadPath("a path cannot contain a NUL byte")
    if not path:
        raise BadPath("a path cannot be empty")
    parts: list[str] = [] if path.startswith("/") else [p for p in base.split("/") if p]
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == "..":
            if not parts:
                raise BadPath("the path leaves the sandbox")
            parts.pop()
            continue
        try:
            size = len(os.fsencode(part))
        except UnicodeEncodeError as error:
            raise BadPath("the path cannot be encoded") from error
        if size > COMPONENT_MAX:
            raise BadPath("a name in the path is longer than 255 bytes")
        parts.append(part)
    result = "/" + "/".join(parts)
    if len(os.fsencode(result)) > PATH_MAX:
        raise BadPath("the path is longer than 4095 bytes")
    return result


def open_in(root_fd: int, path: str, flags: int, mode: int = 0, *, follow: bool = True) -> int:
    """Open `path` beneath `root_fd`; links stay inside, or are refused when `follow` is false.

    With `follow` false only the links on the way and at the end fail, with ELOOP.
    """
    resolve = _IN_ROOT | _NO_MAGICLINKS | (0 if follow else _NO_SYMLINKS)
    if not flags & (os.O_CREAT | os.O_TMPFILE & ~os.O_DIRECTORY):
        mode = 0
    how = struct.pack("QQQ", (flags | os.O_CLOEXEC) & 0xFFFFFFFFFFFFFFFF, mode, resolve)
    relative = path.lstrip("/") or "."
    while True:
        fd = int(
            _libc.syscall(
                ctypes.c_long(_OPENAT2),
                ctypes.c_int(root_fd),
                ctypes.c_char_p(os.fsencode(relative)),
                ctypes.c_char_p(how),
                ctypes.c_size_t(len(how)),
            )
        )
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number != errno.EAGAIN:
            raise OSError(number, os.strerror(number), path)


@contextlib.contextmanager
def parent(root_fd: int, path: str) -> Generator[tuple[int, str], None, None]:
    """The directory that holds `path` (an absolute clean one) as a descriptor, and its last name.

    Links in the parents are followed inside the root; the name itself is untouched.
    """
    head, _, name = path.rpartition("/")
    if not name:
        raise BadPath("the root directory itself cannot be changed")
    fd = open_in(root_fd, head or "/", os.O_PATH | os.O_DIRECTORY)
    try:
        yield fd, name
    finally:
        os.close(fd)


def make_parents(root_fd: int, path: str, mode: int = 0o755) -> int:
    """Make every missing directory above and including `path`, one step at a time beneath root.

    How many were missing.
    """
    current, made = "", 0
    for part in [p for p in path.split("/") if p]:
        above, current = current or "/", f"{current}/{part}"
        try:
            os.close(open_in(root_fd, current, os.O_PATH | os.O_DIRECTORY))
            continue
        except FileNotFoundError:
            pass
        fd = open_in(root_fd, above, os.O_PATH | os.O_DIRECTORY)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, mode, dir_fd=fd)
                made += 1
        finally:
            os.close(fd)
    return made


def open_regular(root_fd: int, path: str) -> int:
    """A regular file opened for reading; pipes and devices neither block nor open.

    Raises `IsADirectoryError`, or `BadPath` for anything else that is not a file.
    """
    probe = open_in(root_fd, path, os.O_PATH)
    try:
        kind = os.fstat(probe).st_mode
    finally:
        os.close(probe)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", path)
    if not stat.S_ISREG(kind):
        raise BadPath("not a regular file")
    fd = open_in(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BadPath("not a regular file")
    return fd


def remove_tree(directory: int, name: str) -> None:
    """Remove a directory and all beneath it, by descriptors, without following a link.

    Subdirectories are first renamed to the top, so that a tree of any depth needs two descriptors
    and no recursion.
    """
    token = os.urandom(8).hex()
    pending, moved = [name], 0
    while pending:
        current = pending.pop()
        fd = os.open(
            current, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory
        )
        try:
            for inner in os.listdir(fd):  # noqa: PTH208 (of a descriptor)
                if not stat.S_ISDIR(os.stat(inner, dir_fd=fd, follow_symlinks=False).st_mode):
                    os.unlink(inner, dir_fd=fd)
                    continue
                moved += 1
                above = f".atoll-{token}-{moved}"
                try:
                    os.rename(inner, above, src_dir_fd=fd, dst_dir_fd=directory)
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    import shutil  # noqa: PLC0415 (only for directories of a lower layer)

                    shutil.rmtree(inner, dir_fd=fd)
                else:
                    pending.append(above)
        finally:
            os.close(fd)
        os.rmdir(current, dir_fd=directory)
