"""Print answers: a table for a person, JSON for a program."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from atoll.client import Exit, Result

NOTHING = "-"


def as_json(value: object) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n")


def as_json_line(value: object) -> None:
    """One JSON document on one line, at once."""
    sys.stdout.write(json.dumps(_plain(value), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def _plain(value: object) -> object:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in cast("Sequence[object]", value)]
    return value


def result_document(result: "Result") -> dict[str, object]:
    """A result as the API's own JSON."""
    return {
        "id": result.id,
        **exit_document(result.exit),
        "stdout": result.stdout,
        "stderr": result.stderr,
        "timings": dict(result.timings),
        "backend": result.backend,
    }


def exit_document(end: "Exit") -> dict[str, object]:
    """How a program ended, as the API's own JSON."""
    return asdict(end)


def table(columns: Sequence[str], rows: Iterable[Sequence[str | None]]) -> None:
    """Columns as wide as they must be; plain text where nobody watches."""
    lines = [list(columns), *([cell or NOTHING for cell in row] for row in rows)]
    if sys.stdout.isatty():
        _rich_table(lines)
        return
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _rich_table(lines: list[list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=SIMPLE_HEAD)
    for name in lines[0]:
        drawn.add_column(name, overflow="fold")
    for line in lines[1:]:
        # Text, since names and arguments may look like markup.
        drawn.add_row(*(Text(cell) for cell in line))
    Console().print(drawn)


def moment(at: float | None) -> str:
    """A point in time, UTC."""
    if at is None:
        return NOTHING
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def pairs(values: "dict[str, str]") -> str:
    """Labels and details on one line."""
    return ",".join(f"{name}={value}" for name, value in values.items()) or NOTHING
