"""`atoll keys …` and `atoll hash-password`."""

from typing import TYPE_CHECKING, Annotated, cast

import typer

from atoll.cli import show
from atoll.cli.options import Json, chosen, connect

if TYPE_CHECKING:
    from atoll.client.options import KeyOptions

COLUMNS = ("ID", "NAME", "TENANT", "PREFIX", "ADMIN", "MADE", "EXPIRES")


def add_to(app: typer.Typer) -> None:
    """Declare the commands."""
    group = typer.Typer(help="API keys.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(create)
    group.command(name="list")(list_)
    group.command()(revoke)
    app.add_typer(group, name="keys")
    app.command(name="hash-password")(hash_password)


def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    tenant: Annotated[str | None, typer.Option(help="Whose it is.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May make keys.")] = False,
    expires_in: Annotated[float | None, typer.Option(help="Seconds.")] = None,
    max_sandboxes: Annotated[int | None, typer.Option()] = None,
    max_concurrent: Annotated[int | None, typer.Option()] = None,
    json_: Json = False,
) -> None:
    """Make a key and print it; it is never shown again."""
    given = {
        "tenant": tenant,
        "admin": admin or None,
        "expires_in_s": expires_in,
        "max_sandboxes": max_sandboxes,
        "max_concurrent": max_concurrent,
    }
    options = cast("KeyOptions", chosen(given))
    with connect(context) as atoll:
        made = atoll.keys.create(name, **options)
    if json_:
        show.as_json(made)
    else:
        typer.echo(made.key)


def list_(context: typer.Context, json_: Json = False) -> None:
    """List the keys, without the keys themselves."""
    with connect(context) as atoll:
        found = atoll.keys.list()
    if json_:
        show.as_json(found)
        return
    rows = [
        (
            each.id,
            each.name,
            each.tenant,
            each.prefix,
            "yes" if each.admin else "no",
            show.moment(each.created_at),
            show.moment(each.expires_at),
        )
        for each in found
    ]
    show.table(COLUMNS, rows)


def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID")],
    json_: Json = False,
) -> None:
    """End a key at once."""
    with connect(context) as atoll:
        atoll.keys.revoke(key_id)
    if json_:
        show.as_json({"revoked": key_id})


def hash_password() -> None:
    """Ask for the admin's password and print its hash, for `admin_password_hash`."""
    from argon2 import PasswordHasher

    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    typer.echo(PasswordHasher().hash(password))
