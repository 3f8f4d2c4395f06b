"""Run a probe that may leave a mess (namespaces, mounts, filters) in a child that then ends."""

import os
import select
import signal
from collections.abc import Callable

_DEADLINE_S = 10.0
_LONGEST_ANSWER = 4096


class ProbeFailed(Exception):
    """The probe's answer is no; the text says which step and why."""


def in_child(probe: Callable[[], str]) -> str:
    """What the probe returns when run in a forked child; `ProbeFailed` when it raised OSError.

    Call it from a single-threaded program only. The child is killed after ten seconds.
    """
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_end)
        _answer(probe, write_end)
    os.close(write_end)
    try:
        return _hear(read_end)
    finally:
        os.close(read_end)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _answer(probe: Callable[[], str], write_end: int) -> None:
    status = 0
    try:
        text = "+" + probe()
    except ProbeFailed as failed:
        text = f"-{failed}"
    except OSError as failed:
        text = f"-{failed.strerror or failed}"
    except BaseException as failed:  # noqa: BLE001 - the child must end here whatever happened
        text = f"-{type(failed).__name__}: {failed}"
    try:
        os.write(write_end, text.encode()[:_LONGEST_ANSWER])
    finally:
        os._exit(status)


def _hear(read_end: int) -> str:
    ready, _, _ = select.select([read_end], [], [], _DEADLINE_S)
    if not ready:
        raise ProbeFailed("the probe did not end within ten seconds")
    text = os.read(read_end, _LONGEST_ANSWER).decode("utf-8", "replace")
    if not text.startswith("+"):
        raise ProbeFailed(text[1:] or "the probe's process was killed")
    return text[1:]
