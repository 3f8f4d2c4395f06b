"""`atoll sandbox shell`: a terminal in a sandbox."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from atoll.cli import outcome
from atoll.cli.options import SandboxName, after_dashes, connect

if TYPE_CHECKING:
    from atoll.client import Process

_BEST_SHELL = "command -v bash >/dev/null && exec bash -i; exec sh -i"


def add_to(group: typer.Typer) -> None:
    """Declare the command."""
    group.command()(shell)


def shell(
    context: typer.Context,
    sandbox: SandboxName,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[COMMAND]…", help="In place of a shell.")
    ] = None,
    keep: Annotated[
        bool, typer.Option(help="Leave the program running when the line breaks.")
    ] = False,
) -> None:
    """Open a terminal in a sandbox; the exit code of its shell becomes ours."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise typer.BadParameter("a shell needs a terminal; `atoll sandbox exec` does not")
    import shutil

    from atoll.cli.terminal import converse
    from atoll.client import AtollError

    size = shutil.get_terminal_size()
    argv = after_dashes(command or []) or ["sh", "-c", _BEST_SHELL]
    with connect(context) as atoll:
        place = atoll.sandboxes.get(sandbox)
        process = place.processes.start(
            argv,
            tty=(size.lines, size.columns),
            env={"TERM": "xterm-256color"},
            timeout_s=_LONGEST_S,
        )
        try:
            with process.attach() as line:
                end = converse(line)
        except (AtollError, KeyboardInterrupt):
            if not keep:
                _end(process)
            raise
        if end is None:
            if not keep:
                _end(process)
            raise typer.Exit(outcome.FAILED)
    outcome.explain(end)
    raise typer.Exit(outcome.exit_code(end))


_LONGEST_S = 3600.0


def _end(process: "Process") -> None:
    process.kill()
