"""Why a program ended, from what the kernel and the program's last words say. No I/O."""

import os
import signal
from dataclasses import dataclass

from atoll.core.model import Exit, ExitReason, Usage

_WORDS = (
    (ExitReason.OPEN_FILES, (b"Too many open files", b"EMFILE")),
    (
        ExitReason.DISK,
        (b"No space left on device", b"File too large", b"ENOSPC", b"File size limit exceeded"),
    ),
    (ExitReason.MEMORY, (b"MemoryError", b"Cannot allocate memory", b"out of memory")),
    (ExitReason.CPU_TIME, (b"CPU time limit exceeded",)),
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
    counted = (
        (number == signal.SIGXCPU, ExitReason.CPU_TIME),
        (number == signal.SIGXFSZ or evidence.disk_full, ExitReason.DISK),
        (evidence.pids_refused, ExitReason.PIDS),
        *((any(w in evidence.last_words for w in words), reason) for reason, words in _WORDS),
        (number is not None, ExitReason.SIGNAL),
    )
    for holds, reason in counted:
        if holds:
            return reason
    return ExitReason.EXITED if code is not None else ExitReason.UNKNOWN
