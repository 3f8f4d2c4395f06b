"""`atoll events`: the audit log."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, cast

import typer

from atoll.cli import show
from atoll.cli.options import Json, chosen, connect

if TYPE_CHECKING:
    from atoll.client import AuditEvent
    from atoll.client.options import EventChoice


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    app.command()(events)


def events(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-F", help="Go on as things happen.")] = False,
    after: Annotated[str | None, typer.Option(help="Only behind this number.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 100,
    sandbox: Annotated[
        str | None, typer.Option(help="Only of this one; of one that is gone the id.")
    ] = None,
    action: Annotated[
        list[str] | None, typer.Option(help="Only this kind, or all of `sandbox.*`; repeatable.")
    ] = None,
    since: Annotated[
        float | None, typer.Option(help="Not before this time, in seconds since the epoch.")
    ] = None,
    until: Annotated[float | None, typer.Option(help="Before this time.")] = None,
    json_: Json = False,
) -> None:
    """Show who did what to which sandbox, oldest first."""
    given = {"sandbox": sandbox, "actions": action, "since": since, "until": until}
    choice = cast("EventChoice", chosen(given))
    with connect(context) as atoll:
        if follow:
            with closing(atoll.follow_events(after=after, **choice)) as stream:
                for each in stream:
                    _line(each, json_)
            return
        for each in atoll.events(after=after, limit=limit, **choice).items:
            _line(each, json_)


def _line(event: "AuditEvent", json_: bool) -> None:
    if json_:
        show.as_json_line(event)
        return
    typer.echo(
        f"{event.seq:>6}  {show.moment(event.at)}  {event.tenant}/{event.actor}  {event.action}  "
        f"{event.outcome}  {event.sandbox_id or show.NOTHING}  {show.pairs(dict(event.detail))}"
    )
