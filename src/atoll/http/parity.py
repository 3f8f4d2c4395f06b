"""What a dialect does of another system's API, as data: its page and its tests are made from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Support(StrEnum):
    """How far an operation goes."""

    SUPPORTED = "supported"
    PARTIAL = "partial"
    REFUSED = "refused"
    BEYOND = "beyond"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that the other system's clients can ask for.

    `key` is what a test says that proves it (`@pytest.mark.parity("key")`). `why` is a sentence
    wherever the support is not whole; `BEYOND` is what the other system does not have.
    """

    key: str
    what: str
    why: str = ""
    support: Support = Support.SUPPORTED


def partial(key: str, what: str, why: str) -> Line:
    """Not all of it, or not in the same way."""
    return Line(key, what, why, Support.PARTIAL)


def refused(key: str, what: str, why: str) -> Line:
    """None of it."""
    return Line(key, what, why, Support.REFUSED)


def beyond(key: str, what: str, why: str = "") -> Line:
    """More than the other system has."""
    return Line(key, what, why, Support.BEYOND)


@dataclass(frozen=True, slots=True)
class Parity:
    """A dialect's lines by section. `ValueError` when two share a key, or a reason is missing."""

    sections: Mapping[str, Sequence[Line]]

    def __post_init__(self) -> None:
        keys = [line.key for line in self.lines]
        doubles = sorted({key for key in keys if keys.count(key) > 1})
        if doubles:
            raise ValueError(f"Lines with the same key: {', '.join(doubles)}.")
        silent = [
            line.key
            for line in self.lines
            if line.support in {Support.PARTIAL, Support.REFUSED} and not line.why
        ]
        if silent:
            raise ValueError(f"Lines without a reason: {', '.join(silent)}.")

    @property
    def lines(self) -> Sequence[Line]:
        """All of them, in order."""
        return [line for lines in self.sections.values() for line in lines]

    @property
    def keys(self) -> frozenset[str]:
        """What tests must prove."""
        return frozenset(line.key for line in self.lines)

    def tables(self) -> str:
        """Markdown: a table for each section."""
        return "\n\n".join(
            f"### {title}\n\n{_table(lines)}" for title, lines in self.sections.items()
        )


def _table(lines: Sequence[Line]) -> str:
    rows = ["| what | here | notes |", "|---|---|---|"]
    rows += [f"| {_cell(each.what)} | {each.support} | {_cell(each.why)} |" for each in lines]
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
