"""Time as a collaborator, so that tests decide what time it is."""

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: one to write down, one to measure with."""

    def now(self) -> float:
        """Seconds since the epoch, UTC. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some moment. Never goes back."""
        ...


class SystemClock:
    """The host's clocks."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time_ns() / 1e9

    def monotonic(self) -> float:
        """Seconds since some moment."""
        return time.monotonic()
