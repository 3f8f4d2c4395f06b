"""`atoll audit …`: check the audit log, with a server or without."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atoll.cli import show
from atoll.cli.options import Json
from atoll.cli.outcome import FAILED

if TYPE_CHECKING:
    from atoll.service.audit_check import Verdict

BROKEN = 1

DataDir = Annotated[Path | None, typer.Option(help="The server's data directory.")]
Config = Annotated[Path | None, typer.Option(help="A TOML file of settings.")]


def add_to(app: typer.Typer) -> None:
    """Declare the commands."""
    group = typer.Typer(help="The audit log's chain.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(verify)
    group.command()(head)
    app.add_typer(group, name="audit")


def verify(
    file: Annotated[
        list[Path] | None,
        typer.Option(
            help="A file of JSON lines instead of the database; repeatable, oldest first."
        ),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(metavar="SEQ:HASH", help="A head noted before, which must be in it."),
    ] = None,
    data_dir: DataDir = None,
    config: Config = None,
    json_: Json = False,
) -> None:
    """Check that no event was changed, removed, inserted or moved; exits with 1 if one was."""
    found = _verdict(data_dir, config, file or [], head or [])
    fault = found.fault
    if json_:
        wrong = None if fault is None else {"seq": fault.seq, "what": fault.what}
        show.as_json(
            {
                "ok": fault is None,
                "events": found.count,
                "head": str(found.head),
                "fault": wrong,
                "where": found.where,
                "notes": list(found.notes),
            }
        )
    else:
        for note in found.notes:
            typer.echo(note)
        if fault is None:
            typer.echo(f"{found.count} events are whole. The head is {found.head}")
        else:
            where = f" ({found.where})" if found.where else ""
            typer.echo(f"Event {fault.seq} {fault.what}{where}.")
    if fault is not None:
        raise typer.Exit(BROKEN)


def head(data_dir: DataDir = None, config: Config = None) -> None:
    """Print the chain's head after checking it; note it elsewhere, for `verify --head`."""
    found = _verdict(data_dir, config, [], [])
    if found.fault is not None:
        sys.stderr.write(f"atoll: Event {found.fault.seq} {found.fault.what}.\n")
        raise typer.Exit(BROKEN)
    typer.echo(str(found.head))


def _verdict(
    data_dir: Path | None, config: Path | None, files: list[Path], heads: list[str]
) -> "Verdict":
    # The server is heavy and optional for those who only use the client: imported here only.
    from atoll import bootstrap, settings
    from atoll.core.errors import AtollError
    from atoll.service.audit_check import heads_of

    try:
        chosen = settings.load({"data_dir": data_dir}, config)
        return bootstrap.audit_verdict(chosen, files, heads_of(heads))
    except settings.SettingsError as failed:
        problems = list(failed.problems)
    except AtollError as failed:
        problems = [failed.detail]
    except OSError as failed:
        problems = [f"{failed.filename}: {failed.strerror}"]
    for problem in problems:
        sys.stderr.write(f"atoll: {problem}\n")
    raise typer.Exit(FAILED)
