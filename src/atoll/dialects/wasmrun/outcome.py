"""How an execution ended, as a body of this API."""

import json
from codecs import getincrementaldecoder
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from atoll.core.model import Channel, Exit, ExitReason
from atoll.dialects.wasmrun.limits import SessionLimits

ABNORMAL = -1
SIGNALLED = 128
# The exit status with which `atoll-wasm` says that there is more to read.
ABORTED = 134
_BROKEN = "Internal error: Failed to parse WASM module: "
_Decoder = getincrementaldecoder("utf-8")


@dataclass
class Outcome:
    """The result. `error` is for every end that is not the program's own exit."""

    stdout: str = ""
    stderr: str = ""
    code: int = ABNORMAL
    duration_ms: int = 0
    truncated: bool = False
    error: str | None = None
    lockfile: Mapping[str, Any] | None = None
    results: list[object] = field(default_factory=list[object])

    def body(self) -> dict[str, object]:
        """As JSON; what there is nothing of is left out."""
        found: dict[str, object] = {
            "stdout": self.stdout,
            "stderr": self.stderr,
            "exit_code": self.code,
            "duration_ms": self.duration_ms,
        }
        if self.truncated:
            found["output_truncated"] = True
        if self.error is not None:
            found["error"] = self.error
        if self.lockfile is not None:
            found["lockfile"] = self.lockfile
        if self.results:
            found["results"] = self.results
        return found

    @property
    def kind(self) -> str:
        """As metrics count it."""
        if self.error is not None and self.error.startswith("Execution timed out"):
            return "timeout"
        return "success" if self.error is None else "error"


class Output:
    """Gathers output up to a bound, and gives it piece by piece as text."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._texts: dict[Channel, list[str]] = {channel: [] for channel in Channel}
        self._decoders = {channel: _Decoder("replace") for channel in Channel}
        self.truncated = False

    def add(self, channel: Channel, data: bytes) -> str:
        """The text of a piece, which may lack the beginning of a character."""
        if len(data) > self._left:
            self.truncated = True
            data = data[: self._left]
        self._left -= len(data)
        text = self._decoders[channel].decode(data)
        self._texts[channel].append(text)
        return text

    def text(self, channel: Channel) -> str:
        """All of a channel."""
        self._texts[channel].append(self._decoders[channel].decode(b"", final=True))
        return "".join(self._texts[channel])


def ended(outcome: Outcome, exit_: Exit, timeout_s: int, limits: SessionLimits) -> None:
    """Note how a program ended."""
    reason = exit_.reason
    if reason is ExitReason.EXITED and exit_.code is not None:
        outcome.code = exit_.code
        return
    if reason is ExitReason.SIGNAL:
        outcome.code = SIGNALLED + (exit_.signal or 0)
        return
    outcome.code = ABNORMAL
    outcome.truncated = outcome.truncated or reason is ExitReason.OUTPUT
    outcome.error = {
        ExitReason.WALL_TIME: f"Execution timed out after {timeout_s}s",
        ExitReason.CPU_TIME: f"Execution timed out after {timeout_s}s",
        ExitReason.MEMORY: f"Memory limit exceeded: {limits.max_memory_mb} MB",
        ExitReason.OUTPUT: f"Output limit exceeded: {limits.max_output_mb} MB",
        ExitReason.DISK: f"Disk usage limit exceeded: {limits.max_disk_mb} MB",
        ExitReason.PIDS: "Process limit exceeded",
        ExitReason.OPEN_FILES: "Open file limit exceeded",
        ExitReason.CANCELLED: "Execution cancelled",
    }.get(reason, "Internal error: the end of the program is not known")


def reported(outcome: Outcome, raw: bytes, timeout_s: int, limits: SessionLimits) -> None:
    """Note what `atoll-wasm` says of a module. The module cannot write there; its sandbox can."""
    try:
        parsed = json.loads(raw)
    except (ValueError, RecursionError):
        return
    if not isinstance(parsed, dict):
        return
    report = cast("dict[str, Any]", parsed)
    reason, detail = report.get("reason"), str(report.get("detail") or "")[:2000]
    results = report.get("results")
    if isinstance(results, list):
        outcome.results = cast("list[object]", results)[:1000]
    if reason is None:
        return
    if reason == "exited":
        code = report.get("exit_code")
        outcome.code = code if isinstance(code, int) else outcome.code
        return
    outcome.code = ABNORMAL
    trap = str(report.get("trap") or "trap")[:100]
    outcome.error = {
        "trap": f"Internal error: WASM trap: {trap}" + (f": {detail}" if detail else ""),
        "fuel": f"Instruction limit exceeded: {limits.max_fuel}",
        "memory": f"Memory limit exceeded: {limits.max_memory_mb} MB",
        "wall_time": f"Execution timed out after {timeout_s}s",
        "invalid": f"{_BROKEN}{detail}",
        "no_function": f"Internal error: Function not found: {detail}",
        "bad_argument": f"Bad request: {detail}",
    }.get(str(reason), f"Internal error: {detail or reason}")


def is_broken(outcome: Outcome) -> bool:
    """Whether there was no module to be executed."""
    return outcome.error is not None and outcome.error.startswith(_BROKEN)
