"""The last steps of a program's start: plumbing, files, then exec or the warm interpreter."""

import _signal  # `signal` without its enums, whose lookups cost each fork some fifty pages
import contextlib
import errno
import fcntl
import json
import os
import socket
import struct
import termios
from collections.abc import Mapping
from typing import Any, NoReturn

from atoll.guest import python
from atoll.wire import message, paths

Request = dict[str, Any]
_HIGH = 1 << 16
_REHEARSAL = message.encode(
    {
        "argv": ["python3", "main.py"], "env": {"HOME": "/workspace", "LANG": "C.UTF-8"},
        "cwd": "/dev/shm", "files": [["main.py", 20]], "cpu_s": 1.0,
    },
    b"print('', end='')  #",
)  # fmt: skip
# What an interpreter, or the zygote, handles or ignores and a program must find at its default.
_CHANGED = (_signal.SIGCHLD, _signal.SIGTERM, _signal.SIGPIPE, _signal.SIGXFSZ)


def terminal(rows: int, cols: int) -> tuple[list[int], list[int]]:
    """A new terminal: its three standard streams, and the other end of it in a list of one."""
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
    return [slave, slave, slave], [master]


def control_terminal() -> None:
    """Make stdin the controlling terminal of this session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def plumb(stdio: list[int], report: int, masters: list[int]) -> tuple[int, list[int]]:
    """Make `stdio` 0, 1 and 2 of a new session and close all else but `report` and `masters`."""
    os.setsid()
    report = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, 100)
    masters = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200) for fd in masters]
    held = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 50) for fd in stdio]
    for target, fd in enumerate(held):
        os.dup2(fd, target)
    close_all_but(report, *masters)
    _signal.set_wakeup_fd(-1)
    for number in _CHANGED:
        _signal.signal(number, _signal.SIG_DFL)
    return report, masters


def close_all_but(*keep: int) -> None:
    """Close every descriptor but the standard streams and those."""
    previous = 2
    for fd in (*sorted(keep), _HIGH):
        os.closerange(previous + 1, fd)
        previous = fd


def rehearse() -> None:
    """Go through a start, while waiting, with a file that is gone again, where no client looks.

    A fork copies each page when it first writes to it, if only to count a reference. What is
    copied before the program is known does not delay it.
    """
    with contextlib.suppress(OSError):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            ours.send(_REHEARSAL)
            received = message.receive(theirs)
        if received is None:
            return
        request, blob, _ = received
        os.chdir(request["cwd"])
        _write_here(request["files"], blob)
        python.rehearse(request["argv"], request["env"])
        os.unlink(request["argv"][-1])
        os.chdir("/")


def become(request: Request, blob: bytes, extra: int | None, report: int) -> NoReturn:
    """Turn this confined process into the program. A failure goes to `report`, as JSON."""
    stage = "cwd"
    try:
        os.chdir(request["cwd"])
        stage = "files"
        if request["files"]:
            if extra is not None:
                blob = whole(extra)
            _write_here(request["files"], blob)
        if extra is not None:
            os.close(extra)
        stage = "exec"
        given = request["env"]  # None: as it is
        env = os.environ if given is None else given
        cold = request.get("tty") or request.get("cold")
        call = None if cold else python.recognise(request["argv"], env)
        if call is not None:
            os.close(report)
            python.main(call, given, request.get("farewell"))  # returns when the code must run cold
        _exec(request["argv"], env)
    except (OSError, paths.BadPath, ValueError) as error:
        refuse(report, stage, error)


def refuse(report: int, stage: str, error: Exception) -> NoReturn:
    """Say what went wrong, and end."""
    number = getattr(error, "errno", None) or errno.EINVAL
    text = {"stage": stage, "errno": number, "detail": str(error)[:1000]}
    os.write(report, json.dumps(text).encode())
    os._exit(127)


def _exec(argv: list[str], env: Mapping[str, str]) -> NoReturn:
    if not argv[0]:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "")
    os.execvpe(argv[0], argv, env)


def whole(fd: int) -> bytes:
    """All that a file holds."""
    size = os.fstat(fd).st_size
    data = bytearray()
    while len(data) < size:
        part = os.pread(fd, size - len(data), len(data))
        if not part:
            break
        data += part
    return bytes(data)


def _write_here(files: list[list[Any]], blob: bytes) -> None:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    write_files(root, os.getcwd(), files, blob)
    os.close(root)


def write_files(root: int, base: str, files: list[list[Any]], blob: bytes) -> None:
    """Lay the files down as the guest's own user; `files` are [path, size], bytes in order."""
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
