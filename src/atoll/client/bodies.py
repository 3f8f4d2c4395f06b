"""Request bodies, from keyword arguments."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from atoll.client.options import CodeOptions, Content, EventChoice, OneShotOptions
from atoll.client.request import Scalar

_DEFAULT_WALL_S = 30.0
_SLACK_S = 60.0
"""Beyond a program's own time: waiting in the queue, starting, sending the output."""


def program(options: Mapping[str, object]) -> dict[str, object]:
    """The options of a program as JSON; bytes travel as base64, and answers should too."""
    body: dict[str, object] = {"encoding": "base64", **options}
    if "stdin" in options:
        body["stdin"] = encoded(cast("Content", options["stdin"]))
    if "files" in options:
        files = cast("Mapping[str, Content]", options["files"])
        body["files"] = {path: encoded(each) for path, each in files.items()}
    if "tty" in options:
        rows, cols = cast("tuple[int, int]", options["tty"])
        body["tty"] = {"rows": rows, "cols": cols}
    return plain(body)


def code(language: str, text: str | None, options: Mapping[str, object]) -> dict[str, object]:
    """Code in a language."""
    body = {"language": language, **program(options)}
    return body if text is None else {**body, "code": text}


def command(what: str | Sequence[str] | None, options: Mapping[str, object]) -> dict[str, object]:
    """A command: a string is a line for the shell, a sequence is taken as it is.

    None where the options themselves say what to run (`language`).
    """
    body = program(options)
    if what is None:
        return body
    if isinstance(what, str):
        return {"command": what, **body}
    return {"argv": list(what), **body}


def encoded(content: Content) -> object:
    """Text as it is; bytes as base64."""
    if isinstance(content, str):
        return content
    return {"content": base64.b64encode(content).decode("ascii"), "encoding": "base64"}


def read_s(options: Mapping[str, object]) -> float:
    """How long the answer may take: the program's time and some."""
    wall = options.get("timeout_s", _DEFAULT_WALL_S)
    return (float(wall) if isinstance(wall, int | float) else _DEFAULT_WALL_S) + _SLACK_S


def events(choice: EventChoice) -> dict[str, Scalar | list[str]]:
    """Which events, as the query has it."""
    return {
        "sandbox": choice.get("sandbox"),
        "action": list(choice.get("actions", ())),
        "since": choice.get("since"),
        "until": choice.get("until"),
    }


def plain(options: Mapping[str, object]) -> dict[str, object]:
    """Keyword arguments as JSON's kinds of value."""
    return {name: _listed(value) for name, value in options.items()}


def _listed(value: object) -> object:
    if isinstance(value, Mapping):
        return plain(cast("Mapping[str, object]", value))
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return list(cast("Sequence[object]", value))
    return value


@dataclass(frozen=True, slots=True)
class Code:
    """Code in a language, for `batch`: `options` are those of `execute`."""

    language: str
    code: str | None = None
    options: CodeOptions = field(default_factory=CodeOptions)

    def body(self) -> dict[str, object]:
        """As JSON."""
        return code(self.language, self.code, self.options)


@dataclass(frozen=True, slots=True)
class Command:
    """A command, for `batch`: a string is a line for the shell."""

    command: str | Sequence[str]
    options: OneShotOptions = field(default_factory=OneShotOptions)

    def body(self) -> dict[str, object]:
        """As JSON."""
        return command(self.command, self.options)


OneShot = Code | Command
