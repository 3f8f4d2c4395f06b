"""Names that a command may begin with, and the modules they stand for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Program:
    """A module of the operator's that sandboxes run by name.

    `call` is how, where the module is a library: `quickjs`. `directories` are (path in the
    workers' image, name for the module) pairs, read-only. `env` is laid beneath the sandbox's.
    `rehearsal` is a command that does nothing, for workers to run while they wait; those that know
    how the program `starts` have it start instead.
    """

    module: Path
    call: str = ""
    directories: tuple[tuple[str, str], ...] = ()
    rehearsal: tuple[str, ...] = ()
    starts: str = ""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
