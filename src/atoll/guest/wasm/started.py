"""A program of the operator's that has started before anybody needs it, and waits for its order.

It opens a named pipe that nobody writes to until there is one. A thread of this process reads what
comes on stdin; if the program can do that, it leaves the order beside the pipe and opens that, too.
If not, the program ends, and another is started as if there had never been one.
"""

import errno
import json
import marshal
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from atoll.guest.wasm import quickjs, runner

PLACE, NAME = "/run/atoll-start", "/.start"
_GO, _ORDER = "go", "order"
_ZIP = b"PK\x03\x04"
_SCRIPT_MAX = 1024 * 1024
_PAUSE_S = 0.0005
_OWN = ("PYTHON", "LC_", "LANG")
_PYTHON = (
    "try:\n import _atoll_start as start\nexcept ImportError:\n raise SystemExit(0)\nstart.main()"
)


class Kind(NamedTuple):
    """How a program waits, and what it must be told: None for what only a new one can do."""

    task: Callable[[runner.Task], runner.Task]
    order: Callable[[runner.Task, runner.Task], bytes | None]
    nothing: bytes


class Started:
    """One program. `told` is called in a thread of its own, with what has been asked for."""

    def __init__(self, kind: str, task: runner.Task) -> None:
        self._kind = KINDS[kind]
        self._task = task
        self._lock = threading.Lock()
        self._over = self._accepted = False
        os.mkdir(PLACE, 0o700)
        os.mkfifo(f"{PLACE}/{_GO}", 0o600)

    def task(self) -> runner.Task:
        """What to run, and wait."""
        task = self._kind.task(self._task)
        return task._replace(roots=[*task.roots, (PLACE, NAME, False)], opened=None)

    def order(self, task: runner.Task) -> bytes | None:
        """What to tell it so that it does that; None when it cannot."""
        alike = task._replace(argv=[], env={}, call=None)
        if alike != self._task._replace(argv=[], env={}, call=None):
            return None
        return self._kind.order(self._task, task)

    def go(self, order: bytes | None) -> None:
        """Let it do what the order says, or end."""
        with open(f"{PLACE}/{_ORDER}", "wb") as file:
            file.write(self._kind.nothing if order is None else order)
        while not self._opened(accepted=order is not None):
            time.sleep(_PAUSE_S)  # it is still starting

    def _opened(self, *, accepted: bool) -> bool:
        """Open the pipe, if the program waits there; true also when it never will."""
        with self._lock:
            if self._over:
                return True
            try:
                os.open(f"{PLACE}/{_GO}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return False
            self._accepted = accepted
            return True

    def ended(self) -> bool:
        """It has; whether with what it was told to do."""
        with self._lock:
            self._over = True
            return self._accepted


def listening(work: Callable[[], None]) -> threading.Thread:
    """Do it beside the program. What it raises ends the process."""

    def guarded() -> None:
        try:
            work()
        except BaseException:  # noqa: BLE001 (the program would wait for ever)
            os._exit(1)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    return thread


def _python(task: runner.Task) -> runner.Task:
    return task._replace(argv=[task.argv[0], "-c", _PYTHON])


def _python_order(started: runner.Task, task: runner.Task) -> bytes | None:
    words, args = task.argv, task.argv[2:]
    if words[0] != started.argv[0] or len(words) < 2 or not _same_python(started.env, task.env):
        return None
    if words[1] == "-c":
        if not args:
            return None
        return marshal.dumps((None, args[0], args[1:], words, task.env), 2)
    if words[1].startswith("-") or not _plain(words[1]):
        return None
    return marshal.dumps((words[1], None, args, words, task.env), 2)


def _same_python(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    def own(env: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in env.items() if key.startswith(_OWN)}

    return own(before) == own(now)


def _plain(script: str) -> bool:
    """Whether that is a file like most, where the program sees `.` as its root.

    What is wrong with the bytes of one is told in other words where they are not a file's.
    """
    place = "." + os.path.normpath(f"/{script}")
    try:
        if script.endswith(".pyc") or os.path.islink(place) or not os.path.isfile(place):
            return False
        with open(place, "rb") as file:
            data = file.read(_SCRIPT_MAX)
        data.decode()
    except (OSError, ValueError):
        return False
    return len(data) < _SCRIPT_MAX and not data.startswith(_ZIP) and b"\0" not in data


def _quickjs(task: runner.Task) -> runner.Task:
    def call(_: object, store: Any, instance: Any) -> Any:
        return quickjs.call(quickjs.HERE, ["qjs", f"{NAME}/{_GO}"], store, instance)

    return task._replace(argv=["qjs", f"{NAME}/{_GO}"], call=call)


def _quickjs_order(_started: runner.Task, task: runner.Task) -> bytes | None:
    return json.dumps({"argv": task.argv[1:], "env": task.env}).encode()


KINDS: Mapping[str, Kind] = {
    "python": Kind(_python, _python_order, marshal.dumps(None, 2)),
    "quickjs": Kind(_quickjs, _quickjs_order, b"null"),
}
