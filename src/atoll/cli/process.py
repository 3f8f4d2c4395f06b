"""`atoll sandbox ps`, `logs` and `kill`: programs that go on without their client."""

from typing import Annotated

import typer

from atoll.cli import outcome, show
from atoll.cli.options import Json, SandboxName, connect

Pid = Annotated[int, typer.Argument(metavar="PID", help="As `ps` shows it.")]
COLUMNS = ("PID", "STARTED", "STATE", "COMMAND")


def add_to(group: typer.Typer) -> None:
    """Declare the commands."""
    group.command()(ps)
    group.command()(logs)
    group.command()(kill)


def ps(context: typer.Context, sandbox: SandboxName, json_: Json = False) -> None:
    """List all programs that were ever started in it."""
    with connect(context) as atoll:
        found = atoll.sandboxes.get(sandbox).processes.list()
    if json_:
        show.as_json(found)
        return
    rows = [
        (
            str(each.pid),
            show.moment(each.started_at),
            "running" if each.exit is None else f"{each.exit.reason} {each.exit.exit_code}",
            " ".join(each.argv),
        )
        for each in found
    ]
    show.table(COLUMNS, rows)


def logs(
    context: typer.Context,
    sandbox: SandboxName,
    pid: Pid,
    follow: Annotated[bool, typer.Option("--follow", "-F", help="Go on to its end.")] = False,
    json_: Json = False,
) -> None:
    """Print what a program has written, from its beginning."""
    from atoll.client import Output

    with connect(context) as atoll:
        process = atoll.sandboxes.get(sandbox).processes.get(pid)
        events = process.output(follow=follow)
        if not json_:
            end = outcome.relay(events)
            raise typer.Exit(0 if end is None else outcome.exit_code(end))
        for event in events:
            if isinstance(event, Output):
                text = event.data.decode("utf-8", "replace")
                show.as_json_line({"channel": event.channel, "data": text, "at": event.position})
            else:
                show.as_json_line(show.exit_document(event.exit))


def kill(
    context: typer.Context,
    sandbox: SandboxName,
    pid: Pid,
    signal: Annotated[
        str | None, typer.Option("--signal", "-s", help="Such as SIGINT; else it ends at once.")
    ] = None,
    json_: Json = False,
) -> None:
    """End a program, or send it a signal."""
    with connect(context) as atoll:
        process = atoll.sandboxes.get(sandbox).processes.get(pid)
        if signal is None:
            process.kill()
        else:
            process.signal(int(signal) if signal.isdecimal() else signal)
        if json_:
            show.as_json(process.refresh())
