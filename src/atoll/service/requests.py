"""What a caller asks of a persistent sandbox, after the front end has parsed it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from atoll.core.model import Channel, Exit, Isolation, Limits, NetworkPolicy
from atoll.core.records import ProcessRecord


class Unset(Enum):
    """The type of `UNSET`, which tells "leave it" from "make it None"."""

    UNSET = "unset"


UNSET: Final = Unset.UNSET


@dataclass(frozen=True, slots=True)
class CreateSandbox:
    """A sandbox to make. `limits` and `network` of None are the profile's.

    `base` is the id or name of a snapshot to begin with; its image and backend are then used, and
    without a `profile` its rules. `changes` of single limits are laid over whatever they are.
    """

    name: str | None = None
    image: str = "host"
    profile: str | None = None
    limits: Limits | None = None
    changes: Mapping[str, int | float] = field(default_factory=dict[str, int | float])
    network: NetworkPolicy | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    backend: str | None = None
    min_isolation: Isolation | None = None
    idle_timeout_s: float | None = None
    lifetime_s: float | None = None
    auto_delete_s: float | None = None
    auto_archive_s: float | None = None
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    base: str | None = None
    preload: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ChangeSandbox:
    """What to change. `lifetime_s` counts from now; None takes the lease away.

    With `if_version` the change is made only while that is still the record's version.
    """

    name: str | None | Unset = UNSET
    labels: Mapping[str, str] | Unset = UNSET
    idle_timeout_s: float | None | Unset = UNSET
    lifetime_s: float | None | Unset = UNSET
    auto_delete_s: float | None | Unset = UNSET
    auto_archive_s: float | None | Unset = UNSET
    secrets: Mapping[str, str] | Unset = field(default=UNSET, repr=False)
    network: NetworkPolicy | Unset = UNSET
    if_version: int | None = None


@dataclass(frozen=True, slots=True)
class OutputChunk:
    """A piece of output. Resuming from `position_after` continues exactly behind it.

    Positions count bytes of both channels together, or of the one channel that was asked for.
    `skipped` bytes before this piece are no longer kept (a log is bounded: its middle is cut).
    """

    position_after: int
    channel: Channel
    data: bytes
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class RunResult:
    """A foreground process that has ended."""

    exit: Exit
    stdout: bytes
    stderr: bytes
    truncated: bool


@dataclass(frozen=True, slots=True)
class ProcessStarted:
    """The first event of `Processes.stream`."""

    record: ProcessRecord


@dataclass(frozen=True, slots=True)
class ProcessFinished:
    """The last event of `Processes.stream`."""

    exit: Exit
