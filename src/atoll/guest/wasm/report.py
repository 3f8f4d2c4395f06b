"""How a module ended, as one JSON object."""

import json
from typing import NamedTuple

EXITED, TRAP, FUEL, MEMORY, WALL_TIME = "exited", "trap", "fuel", "memory", "wall_time"
INVALID, NO_FUNCTION, BAD_ARGUMENT = "invalid", "no_function", "bad_argument"
STALE = "stale"  # compiled code that this engine does not take
FAILED_CODE = 134  # what a shell says of a program that aborted
_DETAIL_MAX = 2000

Value = int | float | str | None


class Report(NamedTuple):
    """`code` is None unless the module chose one; `trap` is a name such as `unreachable`."""

    reason: str
    code: int | None = None
    trap: str | None = None
    detail: str = ""
    results: tuple[Value, ...] = ()

    @property
    def status(self) -> int:
        """The exit status of the process that ran it."""
        return FAILED_CODE if self.code is None else self.code & 0xFF

    def json(self) -> bytes:
        """One line."""
        fields = {
            "reason": self.reason,
            "exit_code": self.code,
            "trap": self.trap,
            "detail": self.detail[:_DETAIL_MAX],
            "results": list(self.results),
        }
        return json.dumps(fields, ensure_ascii=True, allow_nan=False).encode() + b"\n"


class Refused(Exception):
    """The module cannot be run; `report` says why."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.report = Report(reason, detail=detail)
