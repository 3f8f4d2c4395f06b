"""One layer of an image: from a tar stream that nobody trusts to a directory for overlayfs.

Whatever the stream says, nothing is made outside of the directory, and nothing in it but files,
directories, links and overlayfs's own marks: what an entry leaves of a lower layer. Owners, special
bits, extended attributes and devices are left out. Everybody may read what is there, since the user
of a sandbox owns none of it; an image holds no secrets from whoever may run it.
"""

import contextlib
import errno
import os
import posixpath
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, cast

from atoll.guest.forward import Forward
from atoll.wire import paths

ENTRIES_MAX = 1_000_000
HEADER_MAX = 1024 * 1024
_DEPTH_MAX = 128
_BLOCK = 4096
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_RESERVED = ".wh..wh."
_OPAQUE_MARK = "user.overlay.opaque"
_IN_THE_WAY = (FileNotFoundError, NotADirectoryError, FileExistsError, IsADirectoryError)


class BadLayer(ValueError):
    """A layer that will not be unpacked; the message names the entry and says why."""


@dataclass
class Budget:
    """What is left of the bytes and entries that an image may have in all. `spent` is told."""

    bytes: int
    entries: int = ENTRIES_MAX
    told: Callable[[int], None] | None = None
    spent: int = 0

    def spend(self, size: int) -> None:
        """Take bytes off, or raise `BadLayer`."""
        if size < 0:
            raise BadLayer(f"a size of {size} bytes")
        self.bytes -= size
        self.spent += size
        if self.bytes < 0:
            raise BadLayer("unpacked it is larger than image_bytes allows")
        if self.told is not None:
            self.told(self.spent)


class _Headers(Forward):
    """For `tarfile`, which asks for whole headers, however long they say that they are."""

    headers = 0

    def read(self, size: int) -> bytes:
        self.headers += size
        if self.headers > HEADER_MAX:
            raise BadLayer(f"the headers of an entry are longer than {HEADER_MAX} bytes")
        return super().read(size)


def unpack(blocks: Iterator[bytes], directory: str, budget: Budget) -> None:
    """Fill an empty directory from the blocks of an uncompressed tar. Reads them to the end.

    Raises `BadLayer`, and `OSError` when the disk does not take it.
    """
    root = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        source = _Headers(blocks)
        with tarfile.open(fileobj=cast("IO[bytes]", source), mode="r:", errorlevel=1) as archive:
            for member in archive:
                source.headers = 0
                archive.pax_headers = {}
                budget.entries -= 1
                if budget.entries < 0:
                    raise BadLayer(f"there are more than {ENTRIES_MAX} entries")
                _entry(root, member, source, budget)
                archive.members.clear()  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
        left = budget.bytes + HEADER_MAX
        while left >= 0 and (tail := source.some(HEADER_MAX)):
            left -= len(tail)
        if left < 0:
            raise BadLayer("there is more after its end than image_bytes allows")
    except paths.BadPath as error:
        raise BadLayer(str(error)) from error
    except BadLayer:
        raise
    except (tarfile.TarError, EOFError, OverflowError, ValueError, RecursionError) as error:
        # `tarfile` reads a header that follows a header by recursion, and numbers with `int`.
        raise BadLayer(f"not a tar archive: {error}") from error
    finally:
        os.close(root)


def _entry(root: int, member: tarfile.TarInfo, source: Forward, budget: Budget) -> None:
    path = _place(member.name)
    if path == "/":
        if not member.isdir():
            raise BadLayer(f"{member.name!r} is not a directory")
        return
    depth = path.count("/")
    if depth > _DEPTH_MAX:
        raise BadLayer(f"{member.name[:100]!r} is {depth} directories deep")
    # What is skipped is read nevertheless, and each entry takes a block of the disk at least.
    budget.spend(_BLOCK + (member.size if member.size < 0 or not member.isreg() else 0))
    try:
        made = paths.make_parents(root, path.rpartition("/")[0])
        budget.entries -= made
        budget.spend(made * _BLOCK)
        with paths.parent(root, path) as (directory, name):
            _make(root, directory, name, member, source, budget)
    except _IN_THE_WAY as error:
        raise BadLayer(f"{member.name!r} has something in its way: {error.strerror}") from error
    except UnicodeEncodeError as error:
        raise BadLayer(f"{member.name!r} cannot be encoded") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL):
            raise BadLayer(f"{member.name!r}: {error.strerror}") from error
        raise


def _make(
    root: int, directory: int, name: str, member: tarfile.TarInfo, source: Forward, budget: Budget
) -> None:
    if name.startswith(_WHITEOUT):
        _whiteout(directory, name)
    elif member.isdir():
        _directory(directory, name, member)
    elif member.isreg():
        _remove(directory, name)
        _file(directory, name, member, source, budget)
    elif member.issym():
        _remove(directory, name)
        os.symlink(member.linkname, name, dir_fd=directory)
    elif member.islnk():
        _link(root, directory, name, member)
    # A device, a pipe: nobody could open it in a sandbox.


def _place(name: str) -> str:
    """An absolute clean path; images' archives begin names with `./`, `/` or nothing."""
    if ".." in name.split("/"):
        raise BadLayer(f"{name!r} has a '..' in its path")
    return paths.clean(posixpath.normpath(name), "/") if name else "/"


def _whiteout(directory: int, name: str) -> None:
    if name == _OPAQUE:
        _hide(directory, ".")
        return
    gone = name.removeprefix(_WHITEOUT)
    if name.startswith(_RESERVED):
        return  # notes of some other file system to itself
    if gone in ("", ".", ".."):
        raise BadLayer(f"{name!r} names nothing")
    mode = _mode(directory, gone)
    if mode is None:
        os.mknod(gone, stat.S_IFCHR, os.makedev(0, 0), dir_fd=directory)
    elif stat.S_ISDIR(mode):
        # A layer that has a thing and removes it too means the thing of the layers beneath.
        _hide(directory, gone)


def _hide(directory: int, name: str) -> None:
    """Of a directory of ours: what is in it is all that is in it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=directory)
    try:
        os.setxattr(fd, _OPAQUE_MARK, b"y")
    finally:
        os.close(fd)


def _mode(directory: int, name: str) -> int | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def _directory(directory: int, name: str, member: tarfile.TarInfo) -> None:
    mode = _mode(directory, name)
    if mode is None or not stat.S_ISDIR(mode):
        if mode is not None:
            os.unlink(name, dir_fd=directory)
        os.mkdir(name, 0o755, dir_fd=directory)
        if mode is not None and stat.S_ISCHR(mode):
            _hide(directory, name)
    os.chmod(name, member.mode & 0o1777 | 0o755, dir_fd=directory)  # noqa: S103


def _remove(directory: int, name: str) -> None:
    """A later entry of a layer replaces an earlier one."""
    mode = _mode(directory, name)
    if mode is None:
        return
    if stat.S_ISDIR(mode):
        above = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
        try:
            paths.remove_tree(above, name)
        finally:
            os.close(above)
    else:
        os.unlink(name, dir_fd=directory)


def _link(root: int, directory: int, name: str, member: tarfile.TarInfo) -> None:
    with paths.parent(root, _place(member.linkname)) as (other, target):
        found = os.stat(target, dir_fd=other, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode) or stat.S_ISCHR(found.st_mode):
            raise BadLayer(f"{member.name!r} links to what is no file")
        if _same(directory, name, (found.st_ino, found.st_dev)):
            return
        _remove(directory, name)
        os.link(target, name, src_dir_fd=other, dst_dir_fd=directory, follow_symlinks=False)


def _same(directory: int, name: str, identity: tuple[int, int]) -> bool:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return (found.st_ino, found.st_dev) == identity


def _file(
    directory: int, name: str, member: tarfile.TarInfo, source: Forward, budget: Budget
) -> None:
    if member.issparse():
        raise BadLayer(f"{member.name!r} is sparse")
    budget.spend(member.size)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        if not source.copy(member.offset_data, member.size, fd):
            raise BadLayer(f"{member.name!r} is cut short")
        os.fchmod(fd, 0o755 if member.mode & 0o111 else 0o644)
        with contextlib.suppress(OSError, OverflowError, ValueError):
            os.utime(fd, (member.mtime, member.mtime))
    finally:
        os.close(fd)
