"""The fake shell's grammar: words, quotes, variables, redirections, `;`, `&&`, `||` and `&`."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

OPERATORS = (">>", "2>&1", ">&2", "2>", "&&", "||", "&", ";", ">", "<", "\n")
NAME = re.compile(r"\{(\w+)\}|(\w+|[?$@#])")


@dataclass(slots=True)
class Command:
    """One simple command; its words are expanded when it runs."""

    words: list[list[tuple[str, bool]]] = field(default_factory=list[list[tuple[str, bool]]])
    redirections: list[tuple[str, list[tuple[str, bool]] | None]] = field(
        default_factory=list[tuple[str, list[tuple[str, bool]] | None]]
    )


@dataclass(slots=True)
class Chain:
    """Commands joined by `&&` and `||`, perhaps in the background."""

    commands: list[tuple[str, Command]] = field(default_factory=list[tuple[str, Command]])
    background: bool = False


Word = list[tuple[str, bool]]
"""Pieces of text, each with whether variables in it are expanded."""


def parse(text: str) -> list[Chain]:
    """Split a script; `ValueError` when a quote is not closed."""
    chains = [Chain()]
    joint = ";"
    command = Command()
    pending: str | None = None

    def close() -> None:
        nonlocal command
        if command.words or command.redirections:
            chains[-1].commands.append((joint, command))
        command = Command()

    for token in _tokens(text):
        if isinstance(token, list):
            if pending is None:
                command.words.append(token)
            else:
                command.redirections.append((pending, token))
                pending = None
        elif token in {">&2", "2>&1"}:
            command.redirections.append((token, None))
        elif token in {">", ">>", "2>", "<"}:
            pending = token
        else:
            close()
            joint = token
            if token in {";", "\n", "&"}:
                chains[-1].background = token.startswith("&")
                chains.append(Chain())
    close()
    return [chain for chain in chains if chain.commands]


def expand(word: Word, value: Callable[[str], str]) -> str:
    """The word with its variables replaced."""

    def one(match: re.Match[str]) -> str:
        return value(match[1] or match[2])

    return "".join(
        re.sub(r"\$(?:" + NAME.pattern + ")", one, piece) if live else piece for piece, live in word
    )


def _tokens(text: str) -> list[Word | str]:
    found: list[Word | str] = []
    word: Word | None = None
    at = 0
    while at < len(text):
        char = text[at]
        operator = next((o for o in OPERATORS if text.startswith(o, at)), None)
        if operator is not None and not (operator[0] == "2" and word is not None):
            word = None
            found.append(operator)
            at += len(operator)
            continue
        if char in " \t":
            word = None
            at += 1
            continue
        if word is None:
            word = []
            found.append(word)
        if char == "#" and not word:
            found.pop()
            word = None
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        piece, at = _piece(text, at)
        word.extend(piece)
    return found


def _piece(text: str, at: int) -> tuple[Word, int]:
    char = text[at]
    if char == "\\":
        return [(text[at + 1 : at + 2], False)], at + 2
    if char == "'":
        end = text.index("'", at + 1)
        return [(text[at + 1 : end], False)], end + 1
    if char == '"':
        return _quoted(text, at + 1)
    end = at + 1
    while end < len(text) and text[end] not in " \t\n;&|<>'\"\\#":
        end += 1
    return [(text[at:end], True)], end


def _quoted(text: str, at: int) -> tuple[Word, int]:
    word: Word = [("", False)]
    start = at
    while text[at : at + 1] != '"':
        if at >= len(text):
            raise ValueError("unterminated quoted string")
        if text[at] == "\\" and text[at + 1 : at + 2] in {'"', "\\", "$", "`"}:
            word += [(text[start:at], True), (text[at + 1], False)]
            at += 2
            start = at
        else:
            at += 1
    word.append((text[start:at], True))
    return word, at + 1
