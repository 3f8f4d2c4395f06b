"""`atoll bench`: the promises beside the alternatives, measured in one run."""

from pathlib import Path
from typing import Annotated

import typer

from atoll.cli.options import Json, target_of


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    app.command()(bench)


def bench(
    context: typer.Context,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="GROUP", help="Only this group of rows; may be repeated."),
    ] = None,
    runs: Annotated[int, typer.Option(min=5, help="Samples of the quick rows.")] = 300,
    running: Annotated[
        bool, typer.Option("--running", help="Measure the server at --url; else one of our own.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Write the JSON report there too.")] = None,
    json_: Json = False,
) -> None:
    """Measure the promises beside the alternatives this host has, in one run.

    The client is a bare socket with keep-alive; contenders take turns; warm-ups are not counted.
    """
    from atoll.cli.bench.plan import Plan, measure

    target = target_of(context)
    plan = Plan(
        groups=tuple(only or ()),
        runs=runs,
        url=target.url if running else None,
        api_key=target.api_key,
        out=out,
        as_json=json_,
    )
    raise typer.Exit(measure(plan))
