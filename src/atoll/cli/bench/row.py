"""One line of the report: a promise, what was measured, whether it holds."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.cli.bench.series import Series

ATOLL = "atoll"


@dataclass(frozen=True, slots=True)
class Check:
    """One part of a promise. `value` is NaN when it could not be measured."""

    what: str
    value: float
    bound: float
    unit: str = ""
    at_least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether it holds; None when it was not measured."""
        if self.value != self.value:
            return None
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def document(self) -> dict[str, object]:
        """For the JSON report."""
        return {
            "what": self.what,
            "value": None if self.met is None else round(self.value, 4),
            "bound": self.bound,
            "unit": self.unit,
            "direction": ">=" if self.at_least else "<=",
            "met": self.met,
        }


@dataclass(frozen=True, slots=True)
class Row:
    """`why` says what could not be measured, and why; `failed` that it should have been."""

    group: str
    promise: str
    series: Mapping[str, Series] = field(default_factory=dict[str, Series])
    checks: tuple[Check, ...] = ()
    why: tuple[str, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    failed: bool = False

    def ratios(self) -> dict[str, float]:
        """Our median over each alternative's."""
        if ATOLL not in self.series:
            return {}
        ours = self.series[ATOLL].p50
        return {
            name: ours / each.p50
            for name, each in self.series.items()
            if name != ATOLL and each.samples_ms
        }

    @property
    def met(self) -> bool | None:
        """Whether all that was measured holds; None when nothing was."""
        if self.failed:
            return False
        verdicts = [check.met for check in self.checks if check.met is not None]
        errors = any(each.errors for name, each in self.series.items() if name == ATOLL)
        return (all(verdicts) and not errors) if verdicts else None

    def document(self) -> dict[str, object]:
        """For the JSON report."""
        return {
            "group": self.group,
            "promise": self.promise,
            "met": self.met,
            "checks": [check.document() for check in self.checks],
            "contenders": {name: each.document() for name, each in self.series.items()},
            "ratios": {name: round(ratio, 4) for name, ratio in self.ratios().items()},
            "figures": {name: round(value, 3) for name, value in self.figures.items()},
            "why": list(self.why),
        }
