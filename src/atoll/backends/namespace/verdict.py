"""Why a program ended, from what the kernel and the program's last words say. No I/O."""

import os
import signal
from dataclasses import dataclass

from atoll.core.model import Exit, ExitReason, Usage

_SHELL_SIGNAL = 128
_WORDS = (
    (ExitReason.OPEN_FILES, (b"Too many open files", b"EMFILE")),
    (ExitReason.DISK, (b"No space left on device", b"File too large", b"ENOSPC")),
    (ExitReason.MEMORY, (b"MemoryError", b"Cannot allocate memory", b"out of memory")),
    (
        ExitReason.PIDS,
        (b"Resource temporarily unavailable", b"can't start new thread", b"annot fork"),
    ),
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known when a program has ended badly. Counters are those since its start."""

    verdict: ExitReason | None = None
    out_of_memory: bool = False
    pids_refused: bool = False
    disk_full: bool = False
    last_words: bytes = b""


def judge(status: int | None, evidence: Evidence, usage: Usage, *, truncated: bool) -> Exit:
    """The `Exit` for a wait status; None when nobody saw the end.

    Our own verdict (a limit that we enforced, a cancellation) comes first, then the kernel's
    counters, then, for limits that the kernel does not count (open files), the error text that
    the program left on stderr. A program that exits with 0 has not failed, whatever was counted.
    """
    code = number = None
    if status is not None:
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
        else:
            code = os.WEXITSTATUS(status)
    reason = _reason(code, number, evidence)
    if reason not in (ExitReason.EXITED, ExitReason.UNKNOWN) and evidence.verdict is not None:
        code = None
    return Exit(code=code, reason=reason, signal=number, truncated=truncated, usage=usage)


def _reason(code: int | None, number: int | None, evidence: Evidence) -> ExitReason:
    if evidence.verdict is not None:
        return evidence.verdict
    if code == 0:
        return ExitReason.EXITED
    if evidence.out_of_memory:
        return ExitReason.MEMORY
    # A shell reports its child's signal as an exit code of its own.
    ended_by = number or (code - _SHELL_SIGNAL if code and code > _SHELL_SIGNAL else None)
    if ended_by == signal.SIGXCPU:
        return ExitReason.CPU_TIME
    if ended_by == signal.SIGXFSZ or evidence.disk_full:
        return ExitReason.DISK
    if evidence.pids_refused:
        return ExitReason.PIDS
    for reason, words in _WORDS:
        if any(word in evidence.last_words for word in words):
            return reason
    if number is not None:
        return ExitReason.SIGNAL
    return ExitReason.EXITED if code is not None else ExitReason.UNKNOWN
