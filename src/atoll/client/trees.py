"""Local directories as tar streams, and tar streams from strangers into local directories."""

import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from atoll.client.errors import AtollError

CHUNK = 256 * 1024
_END = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """How many entries were made, and the names of those that could not safely be."""

    entries: int
    left_out: tuple[str, ...]


def packed(root: Path) -> Iterator[bytes]:
    """A tar stream of everything beneath a directory, ordered by name; links stay links.

    Owners are left out, and so are sockets, pipes and devices. Memory does not grow with sizes.
    """
    if not root.is_dir():
        raise AtollError(f"{root} is not a directory.")
    with tarfile.TarFile(fileobj=io.BytesIO(), mode="w") as archive:
        for path in walk(root):
            member = archive.gettarinfo(path, arcname=str(path.relative_to(root)))
            # gettarinfo answers None for sockets, whatever its annotation says.
            if not isinstance(member, tarfile.TarInfo):  # pyright: ignore[reportUnnecessaryIsInstance]
                continue
            yield from _entry(member, path)
    yield _END


def _entry(member: tarfile.TarInfo, path: Path) -> Iterator[bytes]:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    if member.islnk():
        member.type, member.linkname = tarfile.REGTYPE, ""
        member.size = path.stat().st_size
    if member.isreg():
        with path.open("rb") as content:
            yield _header(member)
            yield from _exactly(content, member.size)
    elif member.isdir() or member.issym():
        yield _header(member)


def _header(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _exactly(content: IO[bytes], size: int) -> Iterator[bytes]:
    """That many bytes, also of a file that grows or shrinks meanwhile; padded to whole blocks."""
    left = size
    while left:
        piece = content.read(min(left, CHUNK))
        if not piece:
            piece = bytes(min(left, CHUNK))
        left -= len(piece)
        yield piece
    yield bytes(-size % tarfile.BLOCKSIZE)


def walk(root: Path) -> Iterator[Path]:
    """Everything beneath a directory, parents first; links are not followed."""
    for directory, names, files in os.walk(root):
        here = Path(directory)
        names.sort()
        yield from (here / name for name in sorted([*names, *files]))


def total_bytes(root: Path) -> int:
    """About how long the tar stream of a directory is, for a progress bar."""
    sizes = (path.lstat() for path in walk(root))
    return sum(
        tarfile.BLOCKSIZE + (each.st_size if stat.S_ISREG(each.st_mode) else 0) for each in sizes
    )


def unpack(stream: IO[bytes], target: Path) -> Unpacked:
    """Make what a tar stream holds beneath a directory, and nothing outside of it.

    The stream may come from a guest: links that lead out, devices, pipes and names that climb are
    left out; nothing is written through a link; setuid bits are dropped.
    """
    target.mkdir(parents=True, exist_ok=True)
    made = 0
    left_out: list[str] = []
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            if _make(archive, member, target):
                made += 1
            else:
                left_out.append(member.name)
    return Unpacked(made, tuple(left_out))


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> bool:
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not _real_parents(target, name):
        return False
    path = target / name
    if path == target:
        return member.isdir()
    if member.isdir():
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            return False
        path.mkdir(exist_ok=True)
        path.chmod(member.mode & 0o777 | 0o700)
        return True
    if path.is_dir() and not path.is_symlink():
        return False
    if member.issym() and _stays(name, member.linkname):
        path.unlink(missing_ok=True)
        path.symlink_to(member.linkname)
        return True
    if member.islnk():
        return _copy(target, PurePosixPath(member.linkname), path)
    return member.isreg() and _write(archive, member, path)


def _copy(target: Path, name: PurePosixPath, path: Path) -> bool:
    """A second name of a file that came before becomes a copy of it."""
    if name.is_absolute() or ".." in name.parts or not _real_parents(target, name):
        return False
    source = target / name
    if source.is_symlink() or not source.is_file():
        return False
    path.unlink(missing_ok=True)
    shutil.copy(source, path)
    return True


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bool:
    content = archive.extractfile(member)
    if content is None:
        return False
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        while piece := content.read(CHUNK):
            file.write(piece)
        os.fchmod(file.fileno(), member.mode & 0o777)
    return True


def _real_parents(target: Path, name: PurePosixPath) -> bool:
    """Whether every directory on the way is one (made where missing), and none is a link."""
    here = target
    for part in name.parts[:-1]:
        here /= part
        if here.is_symlink():
            return False
        if not here.is_dir():
            if here.exists():
                return False
            here.mkdir()
    return True


def _stays(name: PurePosixPath, link: str) -> bool:
    """Whether a link can only lead inside: no climbing but at its start, and not too far."""
    way = PurePosixPath(link)
    if way.is_absolute() or not link:
        return False
    climbs = 0
    while climbs < len(way.parts) and way.parts[climbs] == "..":
        climbs += 1
    return ".." not in way.parts[climbs:] and climbs < len(name.parts)
