"""What a language is: how its code becomes a command."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

ENTRY = "{entry}"
ARGS = "{args}"


@dataclass(frozen=True, slots=True)
class Language:
    """One language, as `images/languages.toml` describes it.

    `argv` holds the word `{entry}` once and the word `{args}` once, each as a whole word, so that
    what a client names is never pasted into a shell line. `programs` are where to look for it on
    the host, the most usual first: names, or absolute paths; one that is there is enough.
    """

    name: str
    title: str
    entry: str
    argv: tuple[str, ...]
    version_argv: tuple[str, ...]
    install_hint: str
    aliases: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def extension(self) -> str:
        """The file name's ending, with its dot."""
        return PurePosixPath(self.entry).suffix

    def command(self, entry: str, args: Sequence[str] = ()) -> tuple[str, ...]:
        """The argument vector that runs the file `entry` with `args`."""
        words: list[str] = []
        for word in self.argv:
            if word == ENTRY:
                words.append(entry)
            elif word == ARGS:
                words.extend(args)
            else:
                words.append(word)
        return tuple(words)
