"""How many requests an address may make in a minute: run-dat-sheesh's own numbers."""

import re
from collections.abc import Mapping

from atoll.core.errors import Busy
from atoll.service.clock import Clock

WINDOW_S = 60.0
ALL = 120
_ADDRESSES_MAX = 10_000
# Beside what counts for all. A request to one of these counts there and not with the others, so
# that 300 commands a minute are possible at all.
OWN: Mapping[str, tuple[re.Pattern[str], int]] = {
    "create": (re.compile(r"POST /v1/vms"), 30),
    "exec": (re.compile(r"POST /v1/vms/[^/]*/exec"), 300),
    "run-ts": (re.compile(r"POST /v1/vms/[^/]*/run-ts"), 60),
    "run-js": (re.compile(r"POST /v1/vms/[^/]*/run-js"), 60),
    "upload": (re.compile(r"POST /v1/vms/[^/]*/files/upload"), 30),
    "download": (re.compile(r"(GET|HEAD) /v1/vms/[^/]*/files/download"), 60),
}


class Rates:
    """Counts in windows of a minute, for each address and kind."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[tuple[str, str], int] = {}
        self._until = 0.0

    def count(self, address: str, method: str, path: str) -> None:
        """Count one request. `Busy` when it is one too many."""
        now = self._clock.monotonic()
        if now >= self._until or len(self._counts) > _ADDRESSES_MAX:
            self._counts.clear()
            self._until = now + WINDOW_S
        call = f"{method} {path}"
        kind, most = next(
            ((name, most) for name, (route, most) in OWN.items() if route.fullmatch(call)),
            ("all", ALL),
        )
        found = self._counts[address, kind] = self._counts.get((address, kind), 0) + 1
        if found > most:
            wait = max(1.0, self._until - now)
            raise Busy(f"Rate limit exceeded, retry in {wait:.0f} seconds", retry_after_s=wait)
