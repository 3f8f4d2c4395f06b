"""A worker that has warmed itself up and waits to be told, on its stdin, what to run.

One frame comes: four bytes of length, a JSON header, the contents of the files it names. What
follows on stdin is the module's. The answer is one byte on stdout, `+`, and then the output is the
module's too; or `-` and why not, as JSON.
"""

import contextlib
import errno
import functools
import json
import os
import resource
import select
import sys
from typing import Any, NamedTuple, NoReturn

from atoll.guest.wasm import engine, quickjs, runner
from atoll.guest.wasm.home import Home
from atoll.guest.wasm.report import Refused
from atoll.wire import paths

HEADER_MAX = 4 * 1024 * 1024


class Likely(NamedTuple):
    """What may be asked for: a program of the operator's to rehearse, or code of a module.

    That is only loaded: nothing of a client's runs before somebody asks for it. `task` has the
    directories that either will see.
    """

    task: runner.Task
    code: str | None
    load: str | None


def wait(likely: Likely, home: Home) -> tuple[list[str], Any]:
    """The words of the command to run, and the directories of `task`, opened, if they are its.

    Ends the process when there will be none.
    """
    opened, here = None, home.cwd
    for step in (_trifle, lambda: _rehearse(likely, home), lambda: _load(likely)):
        if select.select([0], [], [], 0)[0]:
            break
        step()
    else:
        with contextlib.suppress(Refused):
            opened = runner.opened(likely.task.roots)
    words = accepted(home)
    return words, opened if home.cwd == here else None


def accepted(home: Home) -> list[str]:
    """Read what is asked for, go to its place, lay its files down, answer; its words."""
    header = _header()
    stage = "cwd"
    try:
        home.enter(header["cwd"])
        stage = "files"
        _write_files(home, header["files"])
    except (OSError, paths.BadPath, ValueError) as error:
        _refuse(stage, error)
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    most = int(used + header["cpu_s"] + 1)
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (most, most + 2))
    os.write(1, b"+")
    words: list[str] = header["words"]
    return words


def _trifle() -> None:
    """Run next to nothing, so that the engine's own pages are there."""
    runner.run(runner.Task(["trifle"], {}, [(".", "/", True)], stdio=False), engine.trifle, _ignore)


def _rehearse(likely: Likely, home: Home) -> None:
    """Run a program with nothing to do, in an instance of its own: its code's pages are there."""
    task, code = likely.task._replace(stdio=False), likely.code
    if code is None or not os.path.exists(code):
        return
    if task.call is not None:
        here = home.named(quickjs.HERE)
        place = (here, quickjs.REHEARSAL, False)
        task = task._replace(call=functools.partial(quickjs.rehearse, here), roots=[place])
    with contextlib.suppress(OSError):
        runner.run(task, lambda: engine.trusted(code, fuel=False), _ignore)


def _load(likely: Likely) -> None:
    if likely.load is not None and os.path.exists(likely.load):
        with contextlib.suppress(Refused):
            engine.trusted(likely.load, fuel=False)


def _ignore(_: object) -> None:
    """How a rehearsal ends is of no interest."""


def _header() -> dict[str, Any]:
    size = int.from_bytes(_exactly(4), "big")
    if not 0 < size <= HEADER_MAX:
        sys.exit(1)
    header: dict[str, Any] = json.loads(_exactly(size))
    return header


def _exactly(size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = os.read(0, min(size - len(data), 1 << 20))
        if not part:
            os._exit(0)
        data += part
    return bytes(data)


def _write_files(home: Home, files: list[list[Any]]) -> None:
    """Lay the files down as the guest's own user; links lead only inside the sandbox."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
    root, base = home.root, home.cwd
    for path, size in files:
        content = _exactly(size)
        target = paths.clean(path, base)
        try:
            fd = paths.open_in(root, target, flags, 0o644)
        except FileNotFoundError:
            paths.make_parents(root, target.rpartition("/")[0])
            fd = paths.open_in(root, target, flags, 0o644)
        view = memoryview(content)
        while view:
            view = view[os.write(fd, view) :]
        os.close(fd)


def _refuse(stage: str, error: Exception) -> NoReturn:
    number = getattr(error, "errno", None) or errno.EINVAL
    text = {"stage": stage, "errno": number, "detail": str(error)[:1000]}
    os.write(1, b"-" + json.dumps(text).encode())
    os._exit(1)
