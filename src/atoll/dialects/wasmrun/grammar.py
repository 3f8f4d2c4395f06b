"""The grammar of the small shell: words, pipes, redirections, sequences; nothing is expanded."""

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.dialects.wasmrun.errors import BadRequest

LONGEST = 64 * 1024
OPERATORS = ("&&", ">>", "|", ">", "<", ";")


@dataclass(frozen=True, slots=True)
class Word:
    """A word, or an operator. A quoted `>` is a word."""

    text: str
    operator: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """One program with its redirections."""

    words: tuple[str, ...]
    source: str | None = None
    target: str | None = None
    append: bool = False


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands joined by pipes. `after_success` is `&&` before it."""

    commands: tuple[Command, ...]
    after_success: bool = False


def parse(line: str) -> Sequence[Pipeline]:
    """The pipelines of a line. `BadRequest` with `Parse error:` says what is wrong."""
    if len(line) > LONGEST:
        raise _wrong(f"the line is over {LONGEST} characters")
    found: list[Pipeline] = []
    commands: list[Command] = []
    part: list[Word] = []
    after_success = False

    def end_pipeline(operator: str) -> None:
        nonlocal commands, part
        if part or commands:
            commands.append(_command(part))
            found.append(Pipeline(tuple(commands), after_success))
        elif operator == "&&":
            raise _wrong("unexpected '&&'")
        commands, part = [], []

    for word in words(line):
        if not word.operator or word.text in {">", ">>", "<"}:
            part.append(word)
        elif word.text == "|":
            if not part:
                raise _wrong("unexpected '|'")
            commands.append(_command(part))
            part = []
        else:
            end_pipeline(word.text)
            after_success = word.text == "&&"
    if not part and not commands and after_success:
        raise _wrong("expected a command after '&&'")
    end_pipeline("")
    return found


def words(line: str) -> Sequence[Word]:
    """The line in words. Quoted pieces are words of their own, even beside others."""
    found: list[Word] = []
    at = 0
    while at < len(line):
        letter = line[at]
        if letter.isspace():
            at += 1
        elif letter in {"'", '"'}:
            end = line.find(letter, at + 1)
            if end < 0:
                raise _wrong("unterminated quote")
            found.append(Word(line[at + 1 : end]))
            at = end + 1
        elif operator := next((each for each in OPERATORS if line.startswith(each, at)), ""):
            found.append(Word(operator, operator=True))
            at += len(operator)
        elif letter == "&":
            raise _wrong("unexpected '&'")
        else:
            end = at
            while end < len(line) and not (line[end].isspace() or line[end] in "'\"|><;&"):
                end += 1
            found.append(Word(line[at:end]))
            at = end
    return found


def _command(part: Sequence[Word]) -> Command:
    texts: list[str] = []
    source: str | None = None
    target: str | None = None
    append = False
    rest = iter(part)
    for word in rest:
        if not word.operator:
            texts.append(word.text)
            continue
        name = next(rest, None)
        if name is None or name.operator:
            raise _wrong(f"expected a file name after '{word.text}'")
        if word.text == "<":
            source = name.text
        else:
            target, append = name.text, word.text == ">>"
    if not texts:
        raise _wrong("expected a command")
    return Command(tuple(texts), source, target, append)


def _wrong(what: str) -> BadRequest:
    return BadRequest(f"Parse error: {what}")
