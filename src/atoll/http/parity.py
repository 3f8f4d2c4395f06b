"""What a dialect does of another system's API, as data: its page and its tests are made from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby


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
    section: str
    what: str
    support: Support = Support.SUPPORTED
    why: str = ""


@dataclass(frozen=True, slots=True)
class Parity:
    """All lines of a dialect. Raises `ValueError` when two share a key, or a reason is missing."""

    lines: tuple[Line, ...]

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
    def keys(self) -> frozenset[str]:
        """What tests must prove."""
        return frozenset(line.key for line in self.lines)

    def tables(self) -> str:
        """Markdown: a table for each section."""
        return "\n\n".join(
            f"### {section}\n\n{_table(list(lines))}"
            for section, lines in groupby(self.lines, key=lambda line: line.section)
        )


def _table(lines: Sequence[Line]) -> str:
    rows = ["| what | here | notes |", "|---|---|---|"]
    rows += [f"| {_cell(each.what)} | {each.support} | {_cell(each.why)} |" for each in lines]
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
