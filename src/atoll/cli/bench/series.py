"""Samples and what is said of them."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

WARM_UP = 5


class Failed(Exception):
    """One try went wrong; it is counted, not timed."""


@dataclass(slots=True)
class Series:
    """The times of one contender, in milliseconds."""

    samples_ms: list[float] = field(default_factory=list[float])
    errors: int = 0
    first_error: str = ""

    def quantile(self, share: float) -> float:
        """The value below which that share of the samples lies; NaN without samples."""
        if not self.samples_ms:
            return float("nan")
        ordered = sorted(self.samples_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def p50(self) -> float:
        """The median."""
        return self.quantile(0.5)

    @property
    def p99(self) -> float:
        """The ninety-ninth percentile (the maximum of fewer than a hundred samples)."""
        return self.quantile(0.99)

    def fail(self, why: str) -> None:
        """Count an error; the first one's text is kept."""
        self.errors += 1
        self.first_error = self.first_error or why

    def document(self) -> dict[str, object]:
        """For the JSON report."""
        if not self.samples_ms:
            return {"count": 0, "errors": self.errors, "first_error": self.first_error}
        return {
            "count": len(self.samples_ms),
            "errors": self.errors,
            **({"first_error": self.first_error} if self.errors else {}),
            "p50_ms": round(self.p50, 3),
            "p99_ms": round(self.p99, 3),
            "min_ms": round(min(self.samples_ms), 3),
            "max_ms": round(max(self.samples_ms), 3),
        }


@dataclass(frozen=True, slots=True)
class Contender:
    """Something to time. `every` of 10 takes part in each tenth round: for the slow ones.

    `attempt` raises `Failed` when the result is wrong; it may return its own milliseconds.
    """

    attempt: Callable[[], float | None]
    every: int = 1


def interleaved(contenders: Mapping[str, Contender], runs: int) -> dict[str, Series]:
    """Let the contenders take turns, after a warm-up that is not counted."""
    series = {name: Series() for name in contenders}
    for contender in contenders.values():
        for _ in range(max(1, WARM_UP // contender.every)):
            _time(contender, Series())
    for turn in range(runs):
        for name, contender in contenders.items():
            if turn % contender.every == 0:
                _time(contender, series[name])
    return series


def _time(contender: Contender, series: Series) -> None:
    began = time.perf_counter()
    try:
        own_ms = contender.attempt()
    except (Failed, OSError) as failed:
        series.fail(str(failed))
        return
    taken_ms = (time.perf_counter() - began) * 1000
    series.samples_ms.append(taken_ms if own_ms is None else own_ms)
