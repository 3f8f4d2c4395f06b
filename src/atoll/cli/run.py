"""`atoll run` and `atoll exec`: something once, in a fresh sandbox."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from atoll.cli import outcome, show
from atoll.cli.options import Environment, Json, after_dashes, chosen, connect, pairs

if TYPE_CHECKING:
    from atoll.client.options import OneShotOptions

Timeout = Annotated[float | None, typer.Option("--timeout", "-t", help="Wall time in seconds.")]
Memory = Annotated[str | None, typer.Option("--memory", "-m", help="Such as 256M or 2G.")]
Profile = Annotated[str | None, typer.Option(help="A named set of limits.")]
Backend = Annotated[str | None, typer.Option(help="The kind of isolation.")]
MinIsolation = Annotated[
    str | None,
    typer.Option(help="The least accepted: shared_kernel, interposed or virtual_machine."),
]
Image = Annotated[str | None, typer.Option(help="The root file system.")]
Preload = Annotated[
    list[str] | None, typer.Option(help="A Python module to have imported; may be repeated.")
]
Stdin = Annotated[bool, typer.Option("--stdin", "-i", help="Feed our own input to the program.")]
Files = Annotated[
    list[Path] | None,
    typer.Option("--file", "-f", help="A local file to put into the workspace; may be repeated."),
]

_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_WHOLE = {"allow_interspersed_args": False, "ignore_unknown_options": True}


def add_to(app: typer.Typer) -> None:
    """Declare the commands."""
    app.command(context_settings=_WHOLE)(run)
    app.command(name="exec", context_settings=_WHOLE)(execute)


def run(
    context: typer.Context,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND…")],
    timeout: Timeout = None,
    memory: Memory = None,
    profile: Profile = None,
    backend: Backend = None,
    min_isolation: MinIsolation = None,
    image: Image = None,
    preload: Preload = None,
    env: Environment = None,
    file: Files = None,
    stdin: Stdin = False,
    json_: Json = False,
) -> None:
    """Run a command in a fresh sandbox; its exit code becomes ours.

    124: out of time. 128 + n: ended by signal n. 137: another limit. 125: Atoll itself failed.
    """
    options = one_shot(
        timeout_s=timeout,
        memory=memory,
        profile=profile,
        backend=backend,
        min_isolation=min_isolation,
        image=image,
        preload=preload,
        env=pairs(env, "--env"),
        files=_contents(file),
        stdin=sys.stdin.buffer.read() if stdin else None,
    )
    with connect(context) as atoll:
        if json_:
            result = atoll.run(command, **options)
            show.as_json(show.result_document(result))
            raise typer.Exit(outcome.exit_code(result.exit))
        end = outcome.relay(atoll.run_stream(command, **options))
    raise typer.Exit(outcome.FAILED if end is None else outcome.exit_code(end))


def execute(
    context: typer.Context,
    language: Annotated[str, typer.Argument(metavar="LANG")],
    source: Annotated[str, typer.Argument(metavar="FILE|-")],
    args: Annotated[list[str] | None, typer.Argument(metavar="[ARGS]…")] = None,
    timeout: Timeout = None,
    memory: Memory = None,
    profile: Profile = None,
    backend: Backend = None,
    min_isolation: MinIsolation = None,
    image: Image = None,
    preload: Preload = None,
    env: Environment = None,
    file: Files = None,
    stdin: Stdin = False,
    json_: Json = False,
) -> None:
    """Run a file of code (`-`: from our input) in a fresh sandbox; its exit code becomes ours."""
    if stdin and source == "-":
        raise typer.BadParameter("our input is the code already", param_hint="--stdin")
    code = sys.stdin.read() if source == "-" else _text(Path(source))
    options = one_shot(
        timeout_s=timeout,
        memory=memory,
        profile=profile,
        backend=backend,
        min_isolation=min_isolation,
        image=image,
        preload=preload,
        env=pairs(env, "--env"),
        files=_contents(file),
        stdin=sys.stdin.buffer.read() if stdin else None,
        args=after_dashes(args) if args else None,
    )
    with connect(context) as atoll:
        if json_:
            result = atoll.execute(language, code, **options)
            show.as_json(show.result_document(result))
            raise typer.Exit(outcome.exit_code(result.exit))
        end = outcome.relay(atoll.execute_stream(language, code, **options))
    raise typer.Exit(outcome.FAILED if end is None else outcome.exit_code(end))


def one_shot(*, memory: str | None, **given: object) -> "OneShotOptions":
    """The options that were given, as the client takes them."""
    options = chosen(given)
    if memory is not None:
        options["limits"] = {"memory_bytes": in_bytes(memory, "--memory")}
    return cast("OneShotOptions", options)


def in_bytes(text: str, option: str) -> int:
    """A size such as 256M."""
    unit = _UNITS.get(text[-1:].upper())
    digits = text if unit is None else text[:-1]
    if not digits.isdecimal():
        raise typer.BadParameter(f"{text!r} is no size such as 256M", param_hint=option)
    return int(digits) * (unit or 1)


def _contents(files: list[Path] | None) -> dict[str, bytes] | None:
    return {path.name: path.read_bytes() for path in files} if files else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as failed:
        raise typer.BadParameter(f"{path} is not UTF-8: {failed.reason}") from failed
