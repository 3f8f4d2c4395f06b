"""One file operation, in a process of its own inside the sandbox's mounts.

The server sends a request with a stream socket; a worker answers on that socket and ends. It has
the rights of the sandbox's user namespace, so a guest's `chmod 000` does not stop the owner of the
sandbox, but every path goes through `wire.paths` and so stays inside the sandbox whatever links
the guest plants. Where nothing is mounted, `root` in the request is the sandbox's directory.
"""

import contextlib
import errno
import json
import os
import resource
import signal
import socket
import stat
from collections.abc import Callable, Generator, Iterator
from typing import Any

from atoll.wire import paths, stream

Request = dict[str, Any]
LIST_MAX = 200_000
_BATCH = 100
_DEPTH_MAX = 64
_SMALL = 64 * 1024
_FOLLOW_MAX = 100
_MISSING = ""
_KINDS = {
    errno.ENOENT: "not_found", errno.ENOTDIR: "invalid", errno.EISDIR: "invalid",
    errno.ELOOP: "invalid", errno.EXDEV: "invalid", errno.EINVAL: "invalid",
    errno.ENAMETOOLONG: "invalid", errno.EEXIST: "conflict", errno.ENOTEMPTY: "conflict",
    errno.EROFS: "conflict", errno.EBUSY: "conflict", errno.EPERM: "conflict",
    errno.EACCES: "conflict", errno.ETXTBSY: "conflict", errno.ENXIO: "invalid",
    errno.EIO: "invalid", errno.ESRCH: "not_found",
    errno.ENOSPC: "quota", errno.EDQUOT: "quota", errno.EFBIG: "quota", errno.ENOMEM: "quota",
}  # fmt: skip


class Refused(Exception):
    """The request cannot be carried out; `kind` is one of the words the server knows."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


def serve(request: Request, sock: socket.socket) -> None:
    """Answer one request; every failure becomes an error frame, or a closed socket."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    bound = int(request["disk_bytes"])
    if hard == resource.RLIM_INFINITY or bound < hard:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bound, hard))
    os.umask(0)
    duplex = stream.Duplex(sock)
    root = request.get("root")
    if root is None:
        root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        result = OPERATIONS[request["file"]](root, request, duplex)
        duplex.end(stream.END, result)
    except stream.Cut:
        return
    except BrokenPipeError:
        return
    except (Refused, paths.BadPath) as error:
        _fail(duplex, getattr(error, "kind", "invalid"), str(error))
    except OSError as error:
        _fail(duplex, _KINDS.get(error.errno or 0, "fault"), os.strerror(error.errno or 0))
    except MemoryError:
        _fail(duplex, "quota", "the sandbox is out of memory")


def _fail(duplex: stream.Duplex, kind: str, detail: str) -> None:
    with contextlib.suppress(OSError):
        duplex.end(stream.ERROR, {"kind": kind, "detail": detail})


def describe(path: str, found: os.stat_result, target: str | None = None) -> Request:
    """A `Stat` as JSON."""
    mode = found.st_mode
    kind = (
        "file" if stat.S_ISREG(mode) else "directory" if stat.S_ISDIR(mode)
        else "symlink" if stat.S_ISLNK(mode) else "other"
    )  # fmt: skip
    return {
        "path": path, "kind": kind, "size": found.st_size, "mode": stat.S_IMODE(mode),
        "mtime_ns": found.st_mtime_ns, "inode": found.st_ino, "target": target,
    }  # fmt: skip


def _stat_at(directory: int, name: str, path: str) -> Request:
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    target = None
    if stat.S_ISLNK(found.st_mode):
        with contextlib.suppress(OSError):
            target = os.readlink(name, dir_fd=directory)
    return describe(path, found, target)


def _stat(root: int, request: Request, _duplex: stream.Duplex) -> Request:
    path = request["path"]
    if request.get("follow"):
        fd = paths.open_in(root, path, os.O_PATH)
        try:
            return describe(path, os.fstat(fd))
        finally:
            os.close(fd)
    if path == "/":
        return describe("/", os.fstat(root))
    with paths.parent(root, path) as (directory, name):
        return _stat_at(directory, name, path)


def _list(root: int, request: Request, duplex: stream.Duplex) -> Request:
    batch: list[Request] = []
    count = 0
    fd = paths.open_in(root, request["path"], os.O_RDONLY | os.O_DIRECTORY)
    for entry in walk(fd, request["path"], min(int(request["depth"]), _DEPTH_MAX)):
        batch.append(entry)
        count += 1
        if count > LIST_MAX:
            raise Refused("too_large", f"more than {LIST_MAX} entries")
        if len(batch) >= _BATCH:
            duplex.send(json.dumps(batch).encode("ascii"))
            batch = []
    if batch:
        duplex.send(json.dumps(batch).encode("ascii"))
    return {"count": count}


def walk(fd: int, path: str, depth: int) -> Iterator[Request]:
    """Every entry beneath, parents first, sorted; links are not entered. Closes `fd`."""
    try:
        prefix = path.rstrip("/")
        for name in sorted(os.listdir(fd)):
            inner = f"{prefix}/{name}"
            try:
                entry = _stat_at(fd, name, inner)
            except FileNotFoundError:
                continue
            yield entry
            if entry["kind"] == "directory" and depth > 1:
                try:
                    below = os.open(
                        name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC,
                        dir_fd=fd,
                    )  # fmt: skip
                except OSError:
                    continue
                yield from walk(below, inner, depth - 1)
    finally:
        os.close(fd)


def _read(root: int, request: Request, duplex: stream.Duplex) -> Request:
    fd = paths.open_regular(root, request["path"])
    try:
        found = os.fstat(fd)
        left = found.st_size if request.get("length") is None else int(request["length"])
        offset = int(request.get("offset") or 0)
        # The kernel's own files are small, and their sizes are not what can be read.
        while left > _SMALL and (large := min(left, os.fstat(fd).st_size - offset)) > _SMALL:
            part = min(large, stream.DATA_MAX)
            duplex.send_file(fd, offset, part)
            offset += part
            left -= part
        while left > 0:
            small = os.pread(fd, min(left, _SMALL), offset)
            if not small:
                break
            duplex.send(small)
            offset += len(small)
            left -= len(small)
        return describe(request["path"], found)
    finally:
        os.close(fd)


def write_target(root: int, path: str, own: int) -> str:
    """Where a write to `path` lands: the end of its links, when that exists.

    What the kernel names is believed only while it is still there: of a file that another writer
    has just replaced it says "file (deleted)".
    """
    for _ in range(_FOLLOW_MAX):
        if not _is_link(root, path):
            return path
        try:
            fd = paths.open_in(root, path, os.O_PATH)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                return path
            raise
        try:
            target = _beneath(os.readlink(str(root), dir_fd=own), os.readlink(str(fd), dir_fd=own))
            if _names(root, target, fd):
                return target
        finally:
            os.close(fd)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)


def _beneath(root: str, path: str) -> str:
    """The kernel's word for a place, as a path of the sandbox whose root it calls `root`."""
    return path.removeprefix(root) if root != "/" and path.startswith(f"{root}/") else path


def _is_link(root: int, path: str) -> bool:
    try:
        with paths.parent(root, path) as (directory, name):
            return stat.S_ISLNK(os.lstat(name, dir_fd=directory).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _names(root: int, path: str, fd: int) -> bool:
    """Whether `path` still leads to the file that is open."""
    try:
        with paths.parent(root, path) as (directory, name):
            return os.path.samestat(os.lstat(name, dir_fd=directory), os.fstat(fd))
    except (FileNotFoundError, NotADirectoryError):
        return False


def check_match(root: int, path: str, wanted: str | None) -> None:
    """Raise `Refused("precondition")` unless the file is as the caller last saw it."""
    if wanted is None:
        return
    try:
        fd = paths.open_in(root, path, os.O_PATH)
    except FileNotFoundError:
        tag = _MISSING
    else:
        found = os.fstat(fd)
        os.close(fd)
        tag = f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'
    if (wanted == "*" and tag) or wanted == tag:
        return
    raise Refused("precondition", "the file has changed" if tag else "the file does not exist")


def _write(root: int, request: Request, duplex: stream.Duplex) -> Request:
    path = write_target(root, request["path"], request["own"])
    check_match(root, path, request.get("if_match"))
    head = path.rpartition("/")[0]
    paths.make_parents(root, head)
    with paths.parent(root, path) as (directory, name):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                raise IsADirectoryError(errno.EISDIR, "Is a directory")
        with _unnamed(root, head or "/") as fd:
            while part := duplex.read():
                view = memoryview(part)
                while view:
                    view = view[os.write(fd, view) :]
            os.fchmod(fd, int(request["mode"]) & 0o7777)
            check_match(root, path, request.get("if_match"))
            _publish(fd, directory, name, request["own"])
        return _stat_at(directory, name, request["path"])


@contextlib.contextmanager
def _unnamed(root: int, directory: str) -> Generator[int]:
    """A new file without a name, which vanishes unless it is published."""
    fd = paths.open_in(root, directory, os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _publish(fd: int, directory: int, name: str, own: int) -> None:
    """Give a file its name in one step, replacing what had it."""
    temporary = f".atoll-{os.urandom(8).hex()}"
    os.link(str(fd), temporary, src_dir_fd=own, dst_dir_fd=directory, follow_symlinks=True)
    try:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except OSError:
        os.unlink(temporary, dir_fd=directory)
        raise


def _mkdir(root: int, request: Request, _duplex: stream.Duplex) -> Request:
    path = request["path"]
    with contextlib.suppress(OSError):
        os.close(paths.open_in(root, path, os.O_PATH | os.O_DIRECTORY))
        if request["parents"]:
            return _stat(root, {"path": path, "follow": True}, _duplex)
    if request["parents"]:
        paths.make_parents(root, path.rpartition("/")[0])
    with paths.parent(root, path) as (directory, name):
        os.mkdir(name, int(request["mode"]) & 0o7777, dir_fd=directory)
        return _stat_at(directory, name, path)


def _move(root: int, request: Request, _duplex: stream.Duplex) -> Request:
    source, target = request["path"], request["target"]
    if target == source or target.startswith(source.rstrip("/") + "/"):
        raise Refused("invalid", "a directory cannot be moved into itself")
    paths.make_parents(root, target.rpartition("/")[0])
    with paths.parent(root, source) as (old, old_name), paths.parent(root, target) as (new, name):
        os.stat(old_name, dir_fd=old, follow_symlinks=False)
        if not request["overwrite"]:
            with contextlib.suppress(FileNotFoundError):
                os.stat(name, dir_fd=new, follow_symlinks=False)
                raise FileExistsError(errno.EEXIST, "exists")
        try:
            os.rename(old_name, name, src_dir_fd=old, dst_dir_fd=new)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            raise Refused("conflict", "source and target are on different file systems") from error
        return _stat_at(new, name, target)


def _remove(root: int, request: Request, _duplex: stream.Duplex) -> Request:
    with paths.parent(root, request["path"]) as (directory, name):
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode):
            os.unlink(name, dir_fd=directory)
        elif request["recursive"]:
            paths.remove_tree(directory, name)
        else:
            os.rmdir(name, dir_fd=directory)
    return {}


# The reading of archives is long, and a library; few workers of fresh sandboxes need either.
def _pack(root: int, request: Request, duplex: stream.Duplex) -> Request:
    from atoll.guest import pack  # noqa: PLC0415

    return pack.pack(root, request, duplex)


def _unpack(root: int, request: Request, duplex: stream.Duplex) -> Request:
    from atoll.guest import pack, whole  # noqa: PLC0415

    unpack = whole.unpack if request["whole"] else pack.unpack
    return unpack(root, request, duplex)


def _settle(root: int, request: Request, duplex: stream.Duplex) -> Request:
    from atoll.guest import whole  # noqa: PLC0415

    return whole.settle(root, request, duplex)


def _watch(root: int, request: Request, duplex: stream.Duplex) -> Request:
    from atoll.guest import watching  # noqa: PLC0415

    return watching.watch(root, request, duplex)


Operation = Callable[[int, Request, stream.Duplex], Request]
OPERATIONS: dict[str, Operation] = {
    "stat": _stat,
    "list": _list,
    "read": _read,
    "write": _write,
    "mkdir": _mkdir,
    "move": _move,
    "remove": _remove,
    "pack": _pack,
    "unpack": _unpack,
    "settle": _settle,
    "watch": _watch,
}
