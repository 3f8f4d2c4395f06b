"""What a program gives back besides its output: a frame on its stdout, as guest/scripts write."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from atoll.core.model import Channel
from atoll.service.live import Collected

PAYLOAD_BYTES = 8 * 1024 * 1024
DEPTH_MAX = 200
_LENGTH = re.compile(rb"(\d{1,8})\n")
_LENGTH_BYTES = 9
_ERROR = re.compile(r"(?:error: )?(?:Uncaught )?(?:\(in promise\) )?(?:(\w*Error): )?(.+)")


@dataclass(frozen=True, slots=True)
class Reported:
    """`code` is the status that the program has said it ends with; None when it said nothing.

    `has_result` tells a result of None from none.
    """

    code: int | None = None
    has_result: bool = False
    result: Any = None
    error: Any = None


class Report(Collected):
    """Collects output without the frame. `keep` bytes of each channel; 0 is all there is.

    Without `hold` it collects none, but still tells output from the frame.

    Of the guest's own making like the output: a frame that is none is passed over.
    """

    def __init__(self, nonce: str, keep: int = 0, *, hold: bool = True) -> None:
        super().__init__()
        self._hold = hold
        self._mark = f"\0atoll:{nonce}:".encode()
        self._keep = keep
        self._held = b""
        self._frame: bytearray | None = None
        self.truncated = False
        self.reported = Reported()

    def take(self, channel: Channel, data: bytes) -> bytes:
        if channel is Channel.STDERR:
            return self._kept(self.stderr, data)
        if self._frame is None:
            data = self._split(self._held + data)
            self._held = b""
            if self._frame is None:
                data, self._held = self._tail(data)
            return self._kept(self.stdout, data)
        self._frame += data
        self._read()
        return b""

    def finish(self) -> bytes:
        """There is no more: what looked like the beginning of a frame was output, and is that."""
        rest, self._held = self._held, b""
        return self._kept(self.stdout, rest)

    def _split(self, data: bytes) -> bytes:
        """What comes before the frame, if it begins here."""
        before, mark, after = data.partition(self._mark)
        if mark:
            self._frame = bytearray(after)
            self._read()
        return before

    def _tail(self, data: bytes) -> tuple[bytes, bytes]:
        """Without an end that may be the beginning of a mark, and that end."""
        at = data.rfind(b"\0", max(0, len(data) - len(self._mark)))
        while at >= 0:
            if self._mark.startswith(data[at:]):
                return data[:at], data[at:]
            at = data.rfind(b"\0", max(0, len(data) - len(self._mark)), at)
        return data, b""

    def _kept(self, target: bytearray, data: bytes) -> bytes:
        kept = data[: self._keep - len(target)] if self._keep else data
        self.truncated = self.truncated or len(kept) < len(data)
        if self._hold:
            target += kept
        return kept

    def _read(self) -> None:
        frame = self._frame
        if frame is None or self.complete:
            return
        head = _LENGTH.match(frame)
        if head is None:
            if len(frame) >= _LENGTH_BYTES:
                self.complete = True
            return
        size = int(head[1])
        if size > PAYLOAD_BYTES:
            self.complete = True
        elif len(frame) >= head.end() + size:
            self.reported = _reported(bytes(frame[head.end() : head.end() + size]))
            self.complete = True


def _reported(payload: bytes) -> Reported:
    try:
        value: object = json.loads(payload, parse_constant=_constant)
    except (ValueError, RecursionError):
        return Reported()
    if not isinstance(value, dict):
        return Reported()
    said = cast("dict[str, Any]", value)
    code = said.get("code")
    if _deep(said):
        deep = f"result is nested more than {DEPTH_MAX} levels deep"
        error = {"name": "RangeError", "message": deep}
        return Reported(code=code if isinstance(code, int) else None, error=error)
    return Reported(
        code=code if isinstance(code, int) else None,
        has_result="result" in said,
        result=said.get("result"),
        error=said.get("error"),
    )


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


def _deep(value: object) -> bool:
    """Whether it is nested deeper than everybody who handles it can go."""
    level: list[object] = [value]
    for _ in range(DEPTH_MAX + 2):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return False
    return True


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).values()
    return cast("list[object]", value) if isinstance(value, list) else ()


def of_stderr(text: str) -> dict[str, str]:
    """The error of a program that could not even begin, from what its interpreter says."""
    for line in text.splitlines():
        found = _ERROR.fullmatch(line.strip())
        if found is not None and ("rror" in line):
            return {"name": found[1] or "Error", "message": found[2]}
    return {"name": "Error", "message": text.strip()[:1000] or "The program did not begin."}
