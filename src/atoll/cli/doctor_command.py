"""`atoll doctor`: what this host offers, what follows, and how to get the rest."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from atoll.cli.options import Json

if TYPE_CHECKING:
    from atoll.cli.doctor.finding import Finding
    from atoll.cli.doctor.verdict import Examination

_MARKS = {"yes": ("ok", "green"), "partly": ("part", "yellow"), "no": ("no", "red")}


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    app.command()(doctor)


def doctor(json_: Json = False) -> None:
    """Say what this host offers for isolation, and what to install for the rest.

    Ends with 1 when no backend can be used here.
    """
    from atoll.cli.doctor.verdict import examine

    examination = examine()
    if json_:
        typer.echo(json.dumps(_document(examination), indent=2))
    else:
        for finding in examination.findings:
            _line(finding)
        typer.echo(_verdict(examination))
    raise typer.Exit(0 if examination.usable else 1)


def _document(examination: "Examination") -> dict[str, object]:
    return {
        "usable": examination.usable,
        "backends": list(examination.backends),
        "findings": [asdict(finding) for finding in examination.findings],
    }


def _line(finding: "Finding") -> None:
    mark, colour = _MARKS[finding.state]
    typer.secho(f"{mark:>4} ", fg=colour, nl=False)
    typer.secho(f"{finding.what}", bold=True, nl=False)
    typer.echo(f": {finding.detail}; {finding.consequence}.")
    if finding.how and not finding.there:
        typer.echo(f"       To get it: {finding.how}")


def _verdict(examination: "Examination") -> str:
    if examination.usable:
        return f"\nThis host can run Atoll with: {', '.join(examination.backends)}."
    return (
        "\nNo backend can be used here. Atoll needs namespaces, seccomp and /usr/bin/python3 "
        "for the namespace backend."
    )
