"""`atoll snapshot …`: frozen sandboxes."""

from typing import Annotated

import typer

from atoll.cli import show
from atoll.cli.options import Json, Labels, SandboxName, connect, pairs

SnapshotName = Annotated[str, typer.Argument(metavar="SNAPSHOT", help="Its id or its name.")]
COLUMNS = ("ID", "NAME", "OF", "BACKEND", "MADE", "MB")


def add_to(app: typer.Typer) -> None:
    """Declare the commands."""
    group = typer.Typer(help="Frozen sandboxes.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(create)
    group.command(name="list")(list_)
    group.command()(get)
    group.command()(rm)
    app.add_typer(group, name="snapshot")


def create(
    context: typer.Context,
    sandbox: SandboxName,
    name: Annotated[str | None, typer.Option(help="Unique while it is kept.")] = None,
    label: Labels = None,
    force: Annotated[bool, typer.Option(help="End the processes that run in it.")] = False,
    json_: Json = False,
) -> None:
    """Freeze a sandbox's files; `atoll sandbox create --base` begins from them."""
    with connect(context) as atoll:
        place = atoll.sandboxes.get(sandbox)
        made = place.snapshot(name=name, labels=pairs(label, "--label"), force=force)
    if json_:
        show.as_json(made)
    else:
        typer.echo(made.id)


def list_(context: typer.Context, json_: Json = False) -> None:
    """List the snapshots with what they hold on disk."""
    with connect(context) as atoll:
        found = list(atoll.snapshots.list())
    if json_:
        show.as_json(found)
        return
    rows = [
        (
            each.id,
            each.name,
            each.sandbox_id,
            each.backend,
            show.moment(each.created_at),
            f"{each.size_bytes / 1e6:.1f}",
        )
        for each in found
    ]
    show.table(COLUMNS, rows)


def get(context: typer.Context, snapshot: SnapshotName, json_: Json = False) -> None:
    """Show one."""
    with connect(context) as atoll:
        found = atoll.snapshots.get(snapshot)
    if json_:
        show.as_json(found)
        return
    typer.echo(
        f"{found.id}  {found.name or show.NOTHING}  of {found.sandbox_id}, "
        f"{found.size_bytes} bytes, {show.moment(found.created_at)}"
    )


def rm(
    context: typer.Context,
    snapshots: Annotated[list[str], typer.Argument(metavar="SNAPSHOT…")],
    json_: Json = False,
) -> None:
    """Forget snapshots; sandboxes that began from them keep their files."""
    with connect(context) as atoll:
        for each in snapshots:
            atoll.snapshots.drop(each)
    if json_:
        show.as_json({"dropped": snapshots})
