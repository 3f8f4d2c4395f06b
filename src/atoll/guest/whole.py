"""Archives that are unpacked all or not at all, whoever is killed on the way.

    .atoll-unpack-<hex>.part    comes, and is removed by the next `settle`
    .atoll-unpack-<hex>.whole   has come and fits: what is left of it is moved to its place

Beneath the sandbox's own directories they are in those, where `settle` looks for them; else where
the archive goes, and then nobody does. Both have `tree`, what came, and `target`, the directory
that it goes to. The guest may do with them what it likes: they are its own files, and each step
goes through `wire.paths`.
"""

import contextlib
import errno
import os
import re
import stat
from collections.abc import Generator
from typing import Any

from atoll.guest import pack
from atoll.wire import paths, stream

Request = dict[str, Any]
HOMES = ("/workspace", "/home/user")
_PREFIX = ".atoll-unpack-"
_PART, _WHOLE = ".part", ".whole"
_TARGET_BYTES = 8192
# The others are of service/scripts.py and of wire/paths.py.
_OURS = re.compile(r"\.atoll-(unpack-[0-9a-f]{16}\.(part|whole)|[0-9a-f]{16}(\.(ts|js)|-\d+))")


def unpack(root: int, request: Request, duplex: stream.Duplex) -> Request:
    """As `pack.unpack`, but that nothing is changed before everything has come and fits."""
    base = request["path"]
    home = next((each for each in HOMES if f"{base}/".startswith(f"{each}/")), base)
    place = f"{home.rstrip('/')}/{_PREFIX}{os.urandom(8).hex()}"
    try:
        paths.make_parents(root, f"{place}{_PART}/tree")
        count = pack.unpack(root, {"path": f"{place}{_PART}/tree"}, duplex)["count"]
        paths.make_parents(root, base)
        for directory, target, entry, name in _entries(root, f"{place}{_PART}/tree", base):
            _fits(root, directory, target, entry, name)
        _write(root, f"{place}{_PART}/target", base)
    except BaseException:
        _remove(root, f"{place}{_PART}")
        raise
    with paths.parent(root, place) as (where, last):
        os.rename(last + _PART, last + _WHOLE, src_dir_fd=where, dst_dir_fd=where)
    _finish(root, place + _WHOLE)
    return {"count": count}


def settle(root: int, request: Request, duplex: stream.Duplex) -> Request:
    """Finish what had come whole when everything was killed, and remove what had not.

    And what else of ours was to be removed: the files of programs, directories half deleted.
    """
    del request, duplex
    places = [f"{home}/{name}" for home in HOMES for name in _left(root, home)]
    for place in places:
        if place.endswith(_WHOLE):
            with contextlib.suppress(OSError, ValueError):
                _finish(root, place)
        _remove(root, place)
    return {"count": len(places)}


def _left(root: int, home: str) -> list[str]:
    try:
        fd = paths.open_in(root, home, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return []
    try:
        return sorted(name for name in os.listdir(fd) if _OURS.fullmatch(name))
    finally:
        os.close(fd)


def _finish(root: int, place: str) -> None:
    """Move what has come to where it goes. What was moved before is not there any more."""
    fd = paths.open_regular(root, f"{place}/target")
    try:
        base = os.read(fd, _TARGET_BYTES).decode("utf-8", "surrogateescape")
    finally:
        os.close(fd)
    for directory, target, entry, name in _entries(root, f"{place}/tree", paths.clean(base)):
        if stat.S_ISDIR(entry.st_mode):
            _directory(root, f"{target}/{name}", entry)
            continue
        with (
            paths.parent(root, f"{directory}/{name}") as (source, last),
            paths.parent(root, f"{target}/{name}") as (sink, _),
        ):
            os.rename(last, last, src_dir_fd=source, dst_dir_fd=sink)
    _remove(root, place)


def _directory(root: int, path: str, entry: os.stat_result) -> None:
    with paths.parent(root, path) as (directory, name):
        try:
            os.mkdir(name, stat.S_IMODE(entry.st_mode) & 0o777, dir_fd=directory)
        except FileExistsError:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                raise


Entry = tuple[str, str, os.stat_result, str]


def _entries(root: int, tree: str, base: str) -> Generator[Entry, None, None]:
    """Where each is, where it goes, what it is, its name; directories before what is in them."""
    pending = [(tree, base.rstrip("/"))]
    while pending:
        directory, target = pending.pop()
        fd = paths.open_in(root, directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            found = [
                (name, os.stat(name, dir_fd=fd, follow_symlinks=False))
                for name in sorted(os.listdir(fd))
            ]
        finally:
            os.close(fd)
        for name, entry in found:
            yield directory, target, entry, name
            if stat.S_ISDIR(entry.st_mode):
                pending.append((f"{directory}/{name}", f"{target}/{name}"))


def _fits(root: int, directory: str, target: str, entry: os.stat_result, name: str) -> None:
    """Refuse what has something else in its way."""
    del directory
    try:
        with paths.parent(root, f"{target}/{name}") as (there, last):
            found = os.stat(last, dir_fd=there, follow_symlinks=False)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode) and stat.S_ISDIR(entry.st_mode):
        where = f"{target}/{name}"
        raise pack.BadArchive(f"{where!r} is a link, and nothing is unpacked through links")
    if stat.S_ISDIR(found.st_mode) != stat.S_ISDIR(entry.st_mode):
        raise OSError(errno.EEXIST, "something else is in the way")


def _write(root: int, path: str, text: str) -> None:
    with paths.parent(root, path) as (directory, name):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            os.write(fd, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)


def _remove(root: int, path: str) -> None:
    with contextlib.suppress(OSError), paths.parent(root, path) as (directory, name):
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            paths.remove_tree(directory, name)
        else:
            os.unlink(name, dir_fd=directory)
