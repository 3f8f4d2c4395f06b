"""Why a program ended, from every kind of evidence."""

import signal

import pytest

from atoll.core.model import Exit, ExitReason, Usage
from atoll.jail.host.verdict import Evidence, judge

R = ExitReason
USAGE = Usage(wall_s=1.0)


def exited(code: int) -> int:
    return code << 8


TABLE: list[tuple[str, int | None, Evidence, R, int | None, int | None]] = [
    ("success", exited(0), Evidence(), R.EXITED, 0, None),
    ("failure", exited(3), Evidence(), R.EXITED, 3, None),
    ("killed", signal.SIGKILL, Evidence(), R.SIGNAL, None, 9),
    ("dumped", signal.SIGSEGV | 0x80, Evidence(), R.SIGNAL, None, 11),
    ("nobody saw", None, Evidence(), R.UNKNOWN, None, None),
    ("our clock", signal.SIGKILL, Evidence(verdict=R.WALL_TIME), R.WALL_TIME, None, 9),
    ("our clock, exited", exited(0), Evidence(verdict=R.WALL_TIME), R.WALL_TIME, None, None),
    ("cancelled", None, Evidence(verdict=R.CANCELLED), R.CANCELLED, None, None),
    ("lost", None, Evidence(verdict=R.UNKNOWN), R.UNKNOWN, None, None),
    ("oom", signal.SIGKILL, Evidence(out_of_memory=True), R.MEMORY, None, 9),
    ("oom of a child, survived", exited(0), Evidence(out_of_memory=True), R.EXITED, 0, None),
    ("oom of a child, not", exited(2), Evidence(out_of_memory=True), R.MEMORY, 2, None),
    ("memory error", exited(1), Evidence(last_words=b"MemoryError\n"), R.MEMORY, 1, None),
    ("said and survived", exited(0), Evidence(last_words=b"MemoryError\n"), R.EXITED, 0, None),
    ("cpu", signal.SIGXCPU, Evidence(), R.CPU_TIME, None, 24),
    ("cpu, told by a shell", exited(152), Evidence(last_words=b"CPU time limit exceeded\n"),
     R.CPU_TIME, 152, None),
    ("file size", signal.SIGXFSZ, Evidence(), R.DISK, None, 25),
    ("disk", exited(1), Evidence(disk_full=True), R.DISK, 1, None),
    ("disk full and well", exited(0), Evidence(disk_full=True), R.EXITED, 0, None),
    ("no space", exited(1), Evidence(last_words=b"No space left on device"), R.DISK, 1, None),
    ("forks", exited(1), Evidence(pids_refused=True), R.PIDS, 1, None),
    ("threads", exited(1), Evidence(last_words=b"can't start new thread"), R.PIDS, 1, None),
    ("files", exited(1), Evidence(last_words=b"OSError: [Errno 24] Too many open files: 'x'"),
     R.OPEN_FILES, 1, None),
    ("memory before forks", exited(1), Evidence(out_of_memory=True, pids_refused=True),
     R.MEMORY, 1, None),
    ("our verdict before all", exited(1),
     Evidence(verdict=R.OUTPUT, out_of_memory=True, pids_refused=True, disk_full=True),
     R.OUTPUT, None, None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "evidence", "reason", "code", "number"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_judge(
    status: int | None, evidence: Evidence, reason: R, code: int | None, number: int | None
) -> None:
    ended = judge(status, evidence, USAGE, truncated=True)
    assert ended == Exit(code=code, reason=reason, signal=number, truncated=True, usage=USAGE)
