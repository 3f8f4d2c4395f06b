"""`atoll images pull wasm`: compile the languages of the wasm backend ahead of their first use."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from atoll.cli.outcome import FAILED

WASM = "wasm"


def add_to(app: typer.Typer) -> None:
    """Declare the commands."""
    group = typer.Typer(help="What sandboxes are made of.", no_args_is_help=True)
    group.command()(pull)
    group.callback()(_group)
    app.add_typer(group, name="images")


def _group() -> None:
    """Keep `pull` a command of a group, though it is the only one."""


def pull(
    name: Annotated[str, typer.Argument(help="What to make ready: wasm.")],
    data_dir: Annotated[Path | None, typer.Option(help="The server's data directory.")] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of settings.")] = None,
) -> None:
    """Make ready on this host what the server would else make at its first use."""
    from atoll import bootstrap, settings

    if name != WASM:
        sys.stderr.write(f"atoll: there is nothing named {name!r} to pull; there is: {WASM}\n")
        raise typer.Exit(2)
    try:
        chosen = settings.load({"data_dir": data_dir}, config)
    except settings.SettingsError as failed:
        for problem in failed.problems:
            sys.stderr.write(f"atoll: {problem}\n")
        raise typer.Exit(FAILED) from None
    raise typer.Exit(bootstrap.pull_wasm(chosen))
