"""Start a program in the sandbox: plumbing, confinement, then exec or the warm interpreter."""

import _signal  # `signal` without its enums, whose lookups cost each fork some fifty pages
import errno
import fcntl
import json
import os
import struct
import termios
from typing import Any, NamedTuple, NoReturn, Protocol

from atoll.guest import python
from atoll.wire import paths

Request = dict[str, Any]
_REPORT_MAX = 4096
# What an interpreter, or our agent, handles or ignores and a program must find at its default.
_CHANGED = (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGPIPE, _signal.SIGXFSZ)


class Confinement(Protocol):
    """What the jail does to a process before it may run anything of the guest's."""

    def mark(self) -> int:
        """Begin a new mark: what is forked from now on, and its descendants, carry it."""
        ...

    def confine(self, cpu_s: float) -> None:
        """Give up every right; called in the new process."""
        ...

    def limit_cpu(self, cpu_s: float) -> None:
        """Lower the processor time the calling process may use."""
        ...


class StartFailed(Exception):
    """The program could not be started: the stage (`cwd`, `files`, `exec`), errno, the path."""

    def __init__(self, report: Request) -> None:
        super().__init__(report)
        self.report = report


class Started(NamedTuple):
    """A running program; `master` is the terminal's descriptor, which the caller owns."""

    pid: int
    mark: int
    master: int | None


def start(request: Request, blob: bytes, fds: list[int], jail: Confinement) -> Started:
    """Fork and exec. `fds` are stdin, stdout, stderr (none with a tty), and may end in a memfd.

    Waits until the program runs or has failed to; raises `StartFailed`. Closes `fds`.
    """
    master = None
    stdio = fds[:3]
    if request.get("tty"):
        master, slave = os.openpty()
        resize(master, request["tty"]["rows"], request["tty"]["cols"])
        stdio = [slave, slave, slave]
        fds = [*fds, slave]
    report_read, report_write = os.pipe2(os.O_CLOEXEC)
    mark = jail.mark()
    pid = os.fork()
    if pid == 0:
        _child(request, blob, fds, stdio, report_write, jail)
    os.close(report_write)
    for fd in fds:
        os.close(fd)
    raw = os.read(report_read, _REPORT_MAX)
    os.close(report_read)
    if raw:
        if master is not None:
            os.close(master)
        raise StartFailed(json.loads(raw))
    return Started(pid, mark, master)


def _child(
    request: Request, blob: bytes, fds: list[int], stdio: list[int], report: int, jail: Confinement
) -> NoReturn:
    try:
        extra = fds[3] if request.get("blob_fd") and len(fds) > 3 else None
        if request.get("tty") and request.get("blob_fd"):
            extra = fds[0]
        report, extra = plumb(stdio, report, extra)
        if request.get("tty"):
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        jail.confine(request["cpu_s"])
        become(request, blob, extra, report)
    finally:
        os._exit(127)


def plumb(stdio: list[int], report: int, extra: int | None) -> tuple[int, int | None]:
    """Make `stdio` 0, 1 and 2 of a new session and close all else but `report` and `extra`."""
    os.setsid()
    report = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, 100)
    if extra is not None:
        extra = fcntl.fcntl(extra, fcntl.F_DUPFD_CLOEXEC, 200)
    held = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 50) for fd in stdio]
    for target, fd in enumerate(held):
        os.dup2(fd, target)
    os.closerange(3, report)
    os.closerange(report + 1, 1 << 16 if extra is None else extra)
    if extra is not None:
        os.closerange(extra + 1, 1 << 16)
    _signal.set_wakeup_fd(-1)
    for number in _CHANGED:
        _signal.signal(number, _signal.SIG_DFL)
    return report, extra


def become(request: Request, blob: bytes, extra: int | None, report: int) -> NoReturn:
    """Turn this confined process into the program. A failure goes to `report`, as JSON."""
    stage = "cwd"
    try:
        os.chdir(request["cwd"])
        stage = "files"
        if request["files"]:
            if extra is not None:
                blob = _whole(extra)
            _write_files(request["files"], blob)
        if extra is not None:
            os.close(extra)
        stage = "exec"
        call = None if request.get("tty") else python.recognise(request["argv"], request["env"])
        if call is not None:
            os.close(report)
            python.main(call, request["env"])  # returns when the code must run cold
        _exec(request["argv"], request["env"])
    except (OSError, paths.BadPath, ValueError) as error:
        number = getattr(error, "errno", None) or errno.EINVAL
        text = {"stage": stage, "errno": number, "detail": str(error)[:1000]}
        os.write(report, json.dumps(text).encode())
        os._exit(127)


def _exec(argv: list[str], env: dict[str, str]) -> NoReturn:
    if not argv[0]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "")
    os.execvpe(argv[0], argv, env)


def _whole(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    data = bytearray()
    while len(data) < size:
        part = os.pread(fd, size - len(data), len(data))
        if not part:
            break
        data += part
    return bytes(data)


def _write_files(files: list[list[Any]], blob: bytes) -> None:
    """Lay the files down as the guest's own user; `files` are [path, size], bytes in order."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    base = os.getcwd()
    offset = 0
    for path, size in files:
        target = paths.clean(path, base)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            fd = paths.open_in(root, target, flags, 0o644)
        except FileNotFoundError:
            paths.make_parents(root, target.rpartition("/")[0])
            fd = paths.open_in(root, target, flags, 0o644)
        view = memoryview(blob)[offset : offset + size]
        offset += size
        while view:
            view = view[os.write(fd, view) :]
        os.close(fd)
    os.close(root)


def resize(master: int, rows: int, cols: int) -> None:
    """Set a terminal's size; its foreground process group gets SIGWINCH."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
