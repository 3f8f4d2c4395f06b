"""Options that many commands share, and how a command gets its client."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from atoll.client import Atoll

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Labels = Annotated[
    list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="May be repeated.")
]
Environment = Annotated[
    list[str] | None,
    typer.Option("--env", "-e", metavar="NAME=VALUE", help="May be repeated."),
]
Secrets = Annotated[
    list[str] | None,
    typer.Option("--secret", metavar="NAME=FILE", help="The value is in the file. Repeatable."),
]
SandboxName = Annotated[str, typer.Argument(metavar="SANDBOX", help="Its id or its name.")]


@dataclass(frozen=True, slots=True)
class Target:
    """Which server to ask, and with which key."""

    url: str
    api_key: str | None


def target_of(context: typer.Context) -> Target:
    """What the root command has parsed."""
    target = context.find_object(Target)
    if target is None:
        message = "The root command did not run."
        raise RuntimeError(message)
    return target


def connect(context: typer.Context) -> "Atoll":
    """A client of the server; use it in a `with` block."""
    from atoll.client import Atoll
    from atoll.client.retry import Retry

    target = target_of(context)
    return Atoll(target.url, api_key=target.api_key, retry=Retry(attempts=3))


def chosen(given: Mapping[str, object]) -> dict[str, object]:
    """Without the options that were not given: the server's defaults stand."""
    return {name: value for name, value in given.items() if value is not None}


def after_dashes(words: list[str]) -> list[str]:
    """A command behind an argument keeps its leading `--`, which is ours, not the command's."""
    return words[1:] if words[:1] == ["--"] else words


def secrets_of(given: list[str] | None) -> dict[str, str] | None:
    """`NAME=FILE` options with what is in the files, less a last line's end.

    Never a value on the command line, where every user of this machine could read it.
    """
    files = pairs(given, "--secret")
    if files is None:
        return None
    found: dict[str, str] = {}
    for name, path in files.items():
        try:
            found[name] = Path(path).read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, ValueError) as error:
            raise typer.BadParameter(
                f"{path!r} cannot be read: {error}", param_hint="--secret"
            ) from None
    return found


def pairs(given: list[str] | None, option: str) -> dict[str, str] | None:
    """`NAME=VALUE` options as a mapping; None when there were none."""
    if not given:
        return None
    found: dict[str, str] = {}
    for each in given:
        name, separator, value = each.partition("=")
        if not separator or not name:
            raise typer.BadParameter(f"{each!r} is not NAME=VALUE", param_hint=option)
        found[name] = value
    return found
