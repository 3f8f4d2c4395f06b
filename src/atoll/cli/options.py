"""Options that many commands share, and how a command gets its client."""

from collections.abc import Mapping
from dataclasses import dataclass
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
