"""`atoll sandbox …`: places that stay."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from atoll.cli import copy, forward, outcome, process, shell, show
from atoll.cli.options import (
    Environment,
    Json,
    Labels,
    SandboxName,
    Secrets,
    after_dashes,
    chosen,
    connect,
    pairs,
    secrets_of,
)
from atoll.cli.run import (
    Backend,
    Image,
    Memory,
    MinIsolation,
    Preload,
    Profile,
    Timeout,
    in_bytes,
)

if TYPE_CHECKING:
    from atoll.client import SandboxInfo
    from atoll.client.options import ExecOptions, SandboxOptions

Name = Annotated[str | None, typer.Option(help="Unique while it lives.")]
COLUMNS = ("ID", "NAME", "STATE", "BACKEND", "LAST USED", "LABELS")
_WHOLE = {"allow_interspersed_args": False, "ignore_unknown_options": True}


def add_to(app: typer.Typer) -> None:
    """Declare the commands."""
    group = typer.Typer(help="Sandboxes that stay.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(create)
    group.command(name="list")(list_)
    group.command()(get)
    group.command(name="exec", context_settings=_WHOLE)(exec_)
    group.command()(stop)
    group.command()(start)
    group.command()(archive)
    group.command()(pause)
    group.command()(resume)
    group.command()(fork)
    group.command()(rm)
    copy.add_to(group)
    shell.add_to(group)
    process.add_to(group)
    forward.add_to(group)
    app.add_typer(group, name="sandbox")


def create(
    context: typer.Context,
    name: Name = None,
    memory: Memory = None,
    profile: Profile = None,
    backend: Backend = None,
    min_isolation: MinIsolation = None,
    image: Image = None,
    base: Annotated[str | None, typer.Option(help="A snapshot to begin from.")] = None,
    preload: Preload = None,
    env: Environment = None,
    secret: Secrets = None,
    port: Annotated[
        list[int] | None, typer.Option(help="A port that may be reached; repeatable.")
    ] = None,
    label: Labels = None,
    idle_timeout: Annotated[
        float | None, typer.Option(help="Seconds without use until it is stopped.")
    ] = None,
    lifetime: Annotated[
        float | None, typer.Option(help="Seconds from now until it is destroyed.")
    ] = None,
    auto_delete: Annotated[
        float | None, typer.Option(help="Seconds without use until it is destroyed.")
    ] = None,
    auto_archive: Annotated[
        float | None, typer.Option(help="Seconds without use until its files are packed.")
    ] = None,
    json_: Json = False,
) -> None:
    """Make a sandbox and print its id."""
    given: dict[str, object] = {
        "name": name,
        "limits": {"memory_bytes": in_bytes(memory, "--memory")} if memory else None,
        "profile": profile,
        "backend": backend,
        "min_isolation": min_isolation,
        "image": image,
        "base": base,
        "preload": preload,
        "env": pairs(env, "--env"),
        "secrets": secrets_of(secret),
        "ports": port,
        "labels": pairs(label, "--label"),
        "idle_timeout_s": idle_timeout,
        "lifetime_s": lifetime,
        "auto_delete_s": auto_delete,
        "auto_archive_s": auto_archive,
    }
    options = cast("SandboxOptions", chosen(given))
    with connect(context) as atoll:
        _tell(atoll.sandboxes.create(**options).info, json_)


def list_(
    context: typer.Context,
    label: Labels = None,
    state: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
    json_: Json = False,
) -> None:
    """List the living sandboxes, or those in a given state."""
    with connect(context) as atoll:
        found = list(atoll.sandboxes.list(labels=pairs(label, "--label"), states=state or ()))
    if json_:
        show.as_json(found)
        return
    rows = [
        (
            each.id,
            each.name,
            each.state,
            each.backend,
            show.moment(each.last_used_at),
            show.pairs(dict(each.labels)),
        )
        for each in found
    ]
    show.table(COLUMNS, rows)


def get(context: typer.Context, sandbox: SandboxName, json_: Json = False) -> None:
    """Show one, also one that has ended (by its id): then why."""
    from atoll.client import NotFound

    with connect(context) as atoll:
        found = atoll.sandboxes.get(sandbox)
        try:
            end = found.post_mortem()
        except NotFound:
            end = None
    if json_:
        show.as_json({**_document(found.info), "post_mortem": end and _document(end)})
        return
    for field, value in _document(found.info).items():
        typer.echo(f"{field:>15}  {show.NOTHING if value in (None, {}, '') else value}")
    if end is not None:
        typer.echo(f"{'ended by':>15}  {end.ended_by}: {end.detail}")


def exec_(
    context: typer.Context,
    sandbox: SandboxName,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND…")],
    timeout: Timeout = None,
    cwd: Annotated[str | None, typer.Option(help="Where; the default is /workspace.")] = None,
    env: Environment = None,
    secret: Secrets = None,
    stdin: Annotated[
        bool, typer.Option("--stdin", "-i", help="Feed our own input to the program.")
    ] = False,
    json_: Json = False,
) -> None:
    """Run a command in a sandbox; its exit code becomes ours."""
    import sys

    given = {
        "timeout_s": timeout,
        "cwd": cwd,
        "env": pairs(env, "--env"),
        "secrets": secrets_of(secret),
        "stdin": sys.stdin.buffer.read() if stdin else None,
    }
    options = cast("ExecOptions", chosen(given))
    command = after_dashes(command)
    with connect(context) as atoll:
        place = atoll.sandboxes.get(sandbox)
        if json_:
            result = place.exec(command, **options)
            show.as_json(show.result_document(result))
            raise typer.Exit(outcome.exit_code(result.exit))
        end = outcome.relay(place.stream(command, **options))
    raise typer.Exit(outcome.FAILED if end is None else outcome.exit_code(end))


def stop(context: typer.Context, sandbox: SandboxName, json_: Json = False) -> None:
    """End its processes and keep its files."""
    with connect(context) as atoll:
        _tell(atoll.sandboxes.get(sandbox).stop(), json_)


def start(context: typer.Context, sandbox: SandboxName, json_: Json = False) -> None:
    """Start it now rather than at its next use."""
    with connect(context) as atoll:
        _tell(atoll.sandboxes.get(sandbox).start(), json_)


def archive(context: typer.Context, sandbox: SandboxName, json_: Json = False) -> None:
    """Stop it and pack its files; the next use unpacks them."""
    with connect(context) as atoll:
        _tell(atoll.sandboxes.get(sandbox).archive(), json_)


def pause(context: typer.Context, sandbox: SandboxName, json_: Json = False) -> None:
    """Let its processes stand still, with their memory."""
    with connect(context) as atoll:
        _tell(atoll.sandboxes.get(sandbox).pause(), json_)


def resume(context: typer.Context, sandbox: SandboxName, json_: Json = False) -> None:
    """Let the processes of a paused sandbox go on."""
    with connect(context) as atoll:
        _tell(atoll.sandboxes.get(sandbox).resume(), json_)


def fork(
    context: typer.Context,
    sandbox: SandboxName,
    name: Name = None,
    label: Labels = None,
    force: Annotated[bool, typer.Option(help="End the processes that run in it.")] = False,
    json_: Json = False,
) -> None:
    """Make another with the same files, and print its id."""
    with connect(context) as atoll:
        place = atoll.sandboxes.get(sandbox)
        made = place.fork(name=name, labels=pairs(label, "--label"), force=force)
        _tell(made.info, json_)


def rm(
    context: typer.Context,
    sandboxes: Annotated[list[str], typer.Argument(metavar="SANDBOX…")],
    json_: Json = False,
) -> None:
    """Destroy sandboxes with their files."""
    with connect(context) as atoll:
        gone: list[str] = []
        for each in sandboxes:
            place = atoll.sandboxes.get(each)
            place.destroy()
            gone.append(place.id)
            if not json_:
                typer.echo(place.id)
    if json_:
        show.as_json({"destroyed": gone})


def _tell(info: "SandboxInfo", json_: bool) -> None:
    if json_:
        show.as_json(info)
    else:
        typer.echo(info.id)


def _document(value: object) -> dict[str, object]:
    from dataclasses import asdict, is_dataclass

    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else {}
