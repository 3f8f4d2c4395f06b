"""Tar streams into and out of a directory, entry by entry, with bounded memory.

Unpacking creates regular files, directories, and links that stay inside the directory; everything
else is refused. Owners in the archive are ignored: what is made belongs to the sandbox's user.
"""

import contextlib
import errno
import os
import posixpath
import stat
import tarfile
from collections.abc import Generator
from typing import IO, Any, cast

from atoll.guest import forward
from atoll.wire import paths, stream

Request = dict[str, Any]
ENTRIES_MAX = 1_000_000
_BLOCK = 256 * 1024
_RECORD = 512


class BadArchive(paths.BadPath):
    """An archive, or an entry of it, that will not be unpacked; the message names the entry."""


class _Out:
    """Gathers small writes into blocks."""

    def __init__(self, duplex: stream.Duplex) -> None:
        self._duplex = duplex
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        self._held += data
        if len(self._held) >= _BLOCK:
            self.flush()
        return len(data)

    def file(self, fd: int, size: int) -> None:
        """Exactly `size` bytes of a file from where it is read."""
        if size < _BLOCK:
            while size:
                part = os.read(fd, size) or bytes(size)
                self.write(part)
                size -= len(part)
            return
        self.flush()
        self._duplex.send_file(fd, 0, size)

    def flush(self) -> None:
        if self._held:
            self._duplex.send(self._held)
            self._held = bytearray()


def pack(root: int, request: Request, duplex: stream.Duplex) -> Request:
    """Write everything beneath a directory, named relative to it, or one file."""
    path = request["path"]
    out = _Out(duplex)
    count = 0
    seen: dict[tuple[int, int], str] = {}
    with contextlib.closing(_members(root, path, "./" if request["dotted"] else "")) as members:
        for inner, name, found in members:
            count += 1
            if count > ENTRIES_MAX:
                raise BadArchive(f"more than {ENTRIES_MAX} entries")
            _pack_one(root, inner, name, found, out, seen)
    out.write(bytes(2 * _RECORD))
    out.flush()
    return {"count": count}


def _members(
    root: int, path: str, start: str
) -> Generator[tuple[str, str, os.stat_result], None, None]:
    """Each entry's place, its name, which begins with `start`, and what it is."""
    probe = paths.open_in(root, path, os.O_PATH)
    found = os.fstat(probe)
    os.close(probe)
    if not stat.S_ISDIR(found.st_mode):
        yield path, posixpath.basename(path), found
        return
    if start:
        yield path, ".", found
    pending = [(path.rstrip("/"), start)]
    while pending:
        directory, prefix = pending.pop()
        fd = paths.open_in(root, directory or "/", os.O_RDONLY | os.O_DIRECTORY)
        try:
            below: list[tuple[str, str]] = []
            for name in sorted(os.listdir(fd)):
                try:
                    entry = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                yield f"{directory}/{name}", f"{prefix}{name}", entry
                if stat.S_ISDIR(entry.st_mode) and entry.st_dev == found.st_dev:
                    below.append((f"{directory}/{name}", f"{prefix}{name}/"))
            pending.extend(reversed(below))
        finally:
            os.close(fd)


def _pack_one(
    root: int, path: str, name: str, found: os.stat_result, out: _Out,
    seen: dict[tuple[int, int], str],
) -> None:  # fmt: skip
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(found.st_mode)
    info.mtime = found.st_mtime_ns / 1e9
    info.uid = info.gid = 1000
    info.uname = info.gname = "user"
    fd = -1
    try:
        if stat.S_ISDIR(found.st_mode):
            info.type = tarfile.DIRTYPE
        elif stat.S_ISLNK(found.st_mode):
            info.type = tarfile.SYMTYPE
            with paths.parent(root, path) as (directory, last):
                info.linkname = os.readlink(last, dir_fd=directory)
        elif stat.S_ISREG(found.st_mode):
            key = (found.st_dev, found.st_ino)
            if found.st_nlink > 1 and key in seen:
                info.type, info.linkname = tarfile.LNKTYPE, seen[key]
            else:
                seen[key] = name
                fd = paths.open_in(
                    root, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
                )
                info.size = os.fstat(fd).st_size
        else:
            return
        out.write(info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))
        if fd >= 0:
            _copy_out(fd, info.size, out)
    except (FileNotFoundError, NotADirectoryError):
        return
    finally:
        if fd >= 0:
            os.close(fd)


def _copy_out(fd: int, size: int, out: _Out) -> None:
    """Exactly `size` bytes, padded to a record; a file that shrinks meanwhile ends in zeros."""
    out.file(fd, size)
    if size % _RECORD:
        out.write(bytes(_RECORD - size % _RECORD))


def unpack(root: int, request: Request, duplex: stream.Duplex) -> Request:
    """Make what the archive holds beneath a directory, which is created when missing."""
    base = request["path"]
    paths.make_parents(root, base)
    count = 0
    try:
        source = forward.Forward(forward.blocks(duplex.read))
        with tarfile.open(fileobj=cast("IO[bytes]", source), mode="r:", errorlevel=1) as archive:
            for member in archive:
                count += 1
                if count > ENTRIES_MAX:
                    raise BadArchive(f"more than {ENTRIES_MAX} entries")
                _unpack_one(root, base, member, source)
                archive.members.clear()  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, paths.BadPath):
            raise
        raise BadArchive(f"not a tar archive: {error}") from error
    while duplex.read():
        pass
    return {"count": count}


def _inside(base: str, name: str, member: str) -> str:
    """The place of an entry; refuses one outside `base`."""
    if name.startswith("/"):
        raise BadArchive(f"entry {member!r} has an absolute path")
    try:
        path = paths.clean(posixpath.normpath(name), base) if name not in ("", ".") else base
    except paths.BadPath as error:
        raise BadArchive(f"entry {member!r}: {error}") from error
    if path != base and not path.startswith(base.rstrip("/") + "/"):
        raise BadArchive(f"entry {member!r} leaves the directory")
    if ".." in name.split("/"):
        raise BadArchive(f"entry {member!r} has a '..' in its path")
    return path


def _unpack_one(root: int, base: str, member: tarfile.TarInfo, source: forward.Forward) -> None:
    path = _inside(base, member.name, member.name)
    if member.isdir():
        _no_links(root, base, path)
        paths.make_parents(root, path)
        if path != base:
            with paths.parent(root, path) as (directory, name):
                os.chmod(name, (member.mode & 0o777) | 0o700, dir_fd=directory)
        return
    if path == base:
        raise BadArchive(f"entry {member.name!r} has no name")
    head = path.rpartition("/")[0]
    _no_links(root, base, head)
    paths.make_parents(root, head)
    with paths.parent(root, path) as (directory, name):
        if member.isreg():
            _clear(directory, name)
            _unpack_file(directory, name, member, source)
        elif member.issym():
            _check_link(base, path, member)
            _clear(directory, name)
            os.symlink(member.linkname, name, dir_fd=directory)
        elif member.islnk():
            linked = _inside(base, member.linkname, member.name)
            _no_links(root, base, linked)
            _clear(directory, name)
            with paths.parent(root, linked) as (other, other_name):
                os.link(
                    other_name, name, src_dir_fd=other, dst_dir_fd=directory,
                    follow_symlinks=False,
                )  # fmt: skip
        else:
            raise BadArchive(f"entry {member.name!r} is a device, a pipe or something else special")


def _no_links(root: int, base: str, path: str) -> None:
    """Refuse to go through a link beneath `base`, planted by the guest or by the archive."""
    current = base.rstrip("/")
    for part in path[len(current) :].split("/"):
        if not part:
            continue
        current = f"{current}/{part}"
        try:
            with paths.parent(root, current) as (directory, name):
                mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        except FileNotFoundError:
            return
        if stat.S_ISLNK(mode):
            raise BadArchive(f"{current!r} is a link, and nothing is unpacked through links")


def _check_link(base: str, path: str, member: tarfile.TarInfo) -> None:
    target = member.linkname
    where = posixpath.normpath(posixpath.join(path.rpartition("/")[0] or "/", target))
    if where != base and not where.startswith(base.rstrip("/") + "/"):
        raise BadArchive(f"link {member.name!r} leads out of the directory")


def _clear(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return
    except (IsADirectoryError, PermissionError) as error:
        raise OSError(errno.EEXIST, "a directory is in the way") from error


def _unpack_file(
    directory: int, name: str, member: tarfile.TarInfo, source: forward.Forward
) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=directory)
    try:
        if member.issparse() or member.size < 0:
            raise BadArchive(f"entry {member.name!r} is sparse, or of a size below zero")
        if not source.copy(member.offset_data, member.size, fd):
            raise BadArchive(f"entry {member.name!r} is cut short")
        os.fchmod(fd, member.mode & 0o777)
        with contextlib.suppress(OSError, OverflowError, ValueError):
            os.utime(fd, (member.mtime, member.mtime))
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(fd)
