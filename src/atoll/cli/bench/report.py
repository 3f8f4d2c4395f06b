"""The rows as a table for people, and as JSON."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from atoll import __version__
from atoll.cli.bench.row import ATOLL, Row
from atoll.cli.bench.server import core_count

_VERDICTS = {True: "holds", False: "does not hold", None: "not measured"}
_METHOD = (
    "bare sockets with keep-alive; contenders take turns; warm-ups are not counted; "
    "p50 and p99 over all successful tries, errors counted apart"
)


def document(rows: Sequence[Row], load: float) -> dict[str, object]:
    """Everything. `load` is how busy the machine was before we began."""
    return {
        "atoll": __version__,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": {
            "kernel": platform.release(),
            "machine": platform.machine(),
            "cpus": core_count(),
            "cpu": _cpu_name(),
            "load_before": load,
            "python": platform.python_version(),
        },
        "method": _METHOD,
        "rows": [row.document() for row in rows],
    }


def lines(row: Row) -> list[str]:
    """One row, as text."""
    told = [f"{row.promise}: {_VERDICTS[row.met]}"]
    ratios = row.ratios()
    for name, series in row.series.items():
        figures = (
            f"p50 {series.p50:9.2f} ms   p99 {series.p99:9.2f} ms   "
            f"min {min(series.samples_ms):9.2f} ms   n {len(series.samples_ms):5}"
            if series.samples_ms
            else "no success"
        )
        ratio = f"   atoll is {ratios[name]:.3g} x" if name in ratios else ""
        errors = f"   errors {series.errors}: {series.first_error}" if series.errors else ""
        mark = "*" if name == ATOLL else " "
        told.append(f"  {mark} {name:<20} {figures}{ratio}{errors}")
    for check in row.checks:
        sign = ">=" if check.at_least else "<="
        value = "not measured" if check.met is None else f"{check.value:.3g} {check.unit}".strip()
        told.append(
            f"    {check.what}: {value} (target {sign} {check.bound:g} {check.unit}".rstrip()
            + f") {_VERDICTS[check.met]}"
        )
    told += [f"    {name}: {value:.3g}" for name, value in row.figures.items()]
    told += [f"    {'not compared' if row.series else 'not measured'}: {why}" for why in row.why]
    return told


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    _, _, after = text.partition("model name")
    return after.partition("\n")[0].strip("\t :")
