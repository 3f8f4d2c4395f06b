"""Tar in and out of a tree, with the refusals that the protocol asks for."""

import io
import tarfile
import zlib
from collections.abc import Iterator
from itertools import chain

from atoll.backends.fake.tree import Node, Tree, walk
from atoll.core.errors import AtollError, InvalidRequest
from atoll.core.model import FileKind

BLOCK = 64 * 1024
GZIP = b"\x1f\x8b"
TYPES = {
    FileKind.FILE: tarfile.REGTYPE,
    FileKind.DIRECTORY: tarfile.DIRTYPE,
    FileKind.SYMLINK: tarfile.SYMTYPE,
}


def pack(node: Node, path: str, *, dotted: bool = False) -> Iterator[bytes]:
    """The archive in blocks; names are relative to the directory, a file is named itself."""
    entries: Iterator[tuple[str, Node]]
    if node.kind is FileKind.DIRECTORY:
        entries = iter([(".", node)]) if dotted else iter(())
        below = ((name, each) for name, each in walk(node, ".") if name != ".")
        entries = chain(
            entries, below if dotted else ((name.removeprefix("./"), each) for name, each in below)
        )
    else:
        entries = iter([(path.rpartition("/")[2], node)])
    for name, each in entries:
        kind = TYPES.get(each.kind)
        if kind is None:
            continue
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime = kind, each.mode, each.mtime_ns // 10**9
        info.size = len(each.data) if kind == tarfile.REGTYPE else 0
        info.linkname = each.target or ""
        yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        for start in range(0, info.size, BLOCK):
            yield each.data[start : start + BLOCK]
        yield bytes(-info.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


def unpack(tree: Tree, path: str, content: bytes) -> int:
    """Make the entries beneath a directory; how many."""
    made = 0
    try:
        data = _inflated(tree, content) if content.startswith(GZIP) else content
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:", errors="surrogateescape") as archive:
            place = tree.locate(path, make=True)
            if place.node is None:
                tree.add(place, FileKind.DIRECTORY, 0o755)
            for info in archive:
                tree.room(info.size if info.isreg() else 0)
                piece = data[info.offset_data : info.offset_data + info.size]
                if info.isreg() and len(piece) != info.size:
                    raise InvalidRequest("The archive breaks off.", field="body")
                _entry(tree, path.rstrip("/") or "/", info, piece)
                made += 1
    except (tarfile.TarError, zlib.error, ValueError, RecursionError) as error:
        raise InvalidRequest(f"This is not a tar archive: {error}", field="body") from error
    return made


def _inflated(tree: Tree, content: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    out = bytearray()
    left = content
    while left:
        out += inflater.decompress(left, BLOCK)
        tree.room(len(out))
        left = inflater.unconsumed_tail
    if not inflater.eof:
        raise InvalidRequest("The archive breaks off.", field="body")
    return bytes(out)


def _entry(tree: Tree, top: str, info: tarfile.TarInfo, data: bytes) -> None:
    names = [name for name in info.name.split("/") if name not in ("", ".")]
    if info.name.startswith("/") or ".." in names:
        raise InvalidRequest(f"Entry {info.name!a} leaves the directory.", field="body")
    if not (info.isreg() or info.isdir() or info.issym()):
        raise InvalidRequest(f"Entry {info.name!a} is not a file, a directory or a link.")
    _through_no_link(tree, top, names, info.name)
    inner = "/".join([top.rstrip("/"), *names])
    place = tree.locate(inner, follow=False, make=True)
    if info.issym():
        _inside(names[:-1], info)
        tree.add(place, FileKind.SYMLINK, 0o777, target=info.linkname)
    elif info.isdir():
        if place.node is None:
            tree.add(place, FileKind.DIRECTORY, info.mode)
        elif place.node.kind is FileKind.DIRECTORY:
            place.node.mode = info.mode & 0o7777
        else:
            raise InvalidRequest(f"Entry {info.name!a} is a directory, the path is not.")
    else:
        if place.node is not None and place.node.kind is FileKind.DIRECTORY:
            raise InvalidRequest(f"Entry {info.name!a} is a file, the path is a directory.")
        tree.add(place, FileKind.FILE, info.mode, data)


def _through_no_link(tree: Tree, top: str, names: list[str], shown: str) -> None:
    for depth in range(1, len(names)):
        inner = "/".join([top.rstrip("/"), *names[:depth]])
        try:
            node = tree.get(inner, follow=False)
        except AtollError:
            return
        if node.kind is FileKind.SYMLINK:
            raise InvalidRequest(f"Entry {shown!a} goes through a link.", field="body")


def _inside(directory: list[str], info: tarfile.TarInfo) -> None:
    depth = len(directory)
    if info.linkname.startswith("/"):
        depth = -1
    for name in info.linkname.split("/"):
        depth += {"..": -1, "": 0, ".": 0}.get(name, 1)
        if depth < 0:
            raise InvalidRequest(f"Entry {info.name!a} is a link that leads out.", field="body")
