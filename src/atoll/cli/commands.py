"""The tree of commands, and how every failure becomes one line and an exit code."""

import json
import sys
from typing import Annotated

import typer

from atoll import __version__
from atoll.cli import (
    audit,
    bench_command,
    doctor_command,
    events,
    images,
    keys,
    run,
    sandbox,
    serve,
    snapshot,
)
from atoll.cli.options import Target
from atoll.cli.outcome import FAILED

INTERRUPTED = 130

app = typer.Typer(
    name="atoll",
    help="Run untrusted code in isolated sandboxes. The server is `atoll serve`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (
    serve,
    run,
    sandbox,
    snapshot,
    keys,
    events,
    audit,
    images,
    doctor_command,
    bench_command,
):
    part.add_to(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"atoll {__version__}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    url: Annotated[
        str, typer.Option(envvar="ATOLL_URL", help="The server's address.")
    ] = "http://127.0.0.1:8000",
    api_key: Annotated[
        str, typer.Option(envvar="ATOLL_API_KEY", help="The key, where the server wants one.")
    ] = "",
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Options that every command shares."""
    context.obj = Target(url, api_key or None)


def main() -> int:
    """Run the command of `sys.argv`."""
    try:
        app()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except _expected() as failed:
        sys.stderr.write(_told(failed))
        return FAILED
    return 0


def _expected() -> tuple[type[Exception], ...]:
    # Evaluated only when something was raised, so that `--help` does not pay for it.
    from atoll.client.errors import AtollError

    return (AtollError, OSError)


def _told(failed: Exception) -> str:
    """One line; JSON where the command was asked for JSON."""
    from atoll.client.errors import Problem, Unreachable

    words = sys.argv[1:]
    if "--json" in words[: words.index("--") if "--" in words else None]:
        return json.dumps({"error": _document(failed)}) + "\n"
    text = str(failed)
    if isinstance(failed, Unreachable) and not failed.sent:
        text += " Is it running? Start one with: atoll serve"
    if isinstance(failed, Problem):
        text += f" (field {failed.field})" if failed.field else ""
    return f"atoll: {text}\n"


def _document(failed: Exception) -> dict[str, object]:
    from atoll.client.errors import Problem, Unreachable

    if isinstance(failed, Problem):
        names = ("code", "status", "detail", "field", "retryable")
        return {name: getattr(failed, name) for name in names}
    code = "unreachable" if isinstance(failed, Unreachable) else "failed"
    return {"code": code, "detail": str(failed)}
