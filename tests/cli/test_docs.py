"""docs/cli.md names every command, and no other."""

import re
from collections.abc import Iterator

import typer

from atoll.cli.bench.plan import GROUPS
from atoll.cli.commands import app
from tests.arch import tree

PAGE = (tree.ROOT / "docs" / "cli.md").read_text()


def _commands(group: typer.Typer, words: str) -> Iterator[str]:
    for command in group.registered_commands:
        name = command.name or (command.callback.__name__ if command.callback else "")
        yield f"{words} {name}"
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            yield from _commands(inner.typer_instance, f"{words} {inner.name}")


def test_every_command_has_its_row() -> None:
    commands = set(_commands(app, "atoll"))
    rows = re.findall(r"^\| `(atoll [^`]+)` \|", PAGE, re.MULTILINE)
    documented = {re.sub(r"( [A-Z]+| --.*)+$", "", row) for row in rows}
    assert documented == commands


def test_every_group_of_the_bench_is_named() -> None:
    assert [group for group in GROUPS if f"`{group}`" not in PAGE] == []
