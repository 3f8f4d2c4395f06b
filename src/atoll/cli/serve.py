"""`atoll serve`: start the server. Each flag is a setting too (`ATOLL_PORT=…`)."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from atoll.cli.outcome import FAILED


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    app.command()(serve)


def serve(
    host: Annotated[str | None, typer.Option(help="The address; 127.0.0.1 by default.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 8000 by default, 0 for any.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where everything is kept.")] = None,
    dialect: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=HOST:PORT]", help="Speak another system's API; repeatable."),
    ] = None,
    dialect_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME.OPTION=VALUE", help="A setting of a dialect; its page lists them."
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Serve others than this machine without a key.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
) -> None:
    """Start the server, until it is interrupted: then what runs may end."""
    # The server is heavy and optional for those who only use the client: imported here only.
    from atoll import bootstrap, settings

    flags = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "dialects": tuple(dialect) if dialect else None,
        "insecure": insecure or None,
    }
    try:
        chosen = settings.load(flags, config, dialect_options=dialect_option or ())
    except settings.SettingsError as failed:
        for problem in failed.problems:
            sys.stderr.write(f"atoll: {problem}\n")
        raise typer.Exit(FAILED) from None
    raise typer.Exit(bootstrap.serve(chosen))
