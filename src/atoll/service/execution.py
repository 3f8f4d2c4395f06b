"""The values of a one-shot: what is asked, what comes back, what a stream tells on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.core.model import (
    MIB,
    WORKSPACE,
    Channel,
    Exit,
    Isolation,
    Limits,
    NetworkPolicy,
)
from atoll.service.reports import Reported


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """A request to run something once in a fresh sandbox.

    Either `argv` (a command) or `language` with `code`, or with `files` and `entry`. `args` are
    added after the command or the entry file. `files` are relative to `cwd`. `stdin` is fed whole
    and then closed. `function` calls an export of the WebAssembly module that `argv` names; `fuel`
    bounds its instructions. `cpu_s` None means that only `wall_s` bounds the time. `structured`
    code can give back a JSON value. `secrets` are variables, or files beneath `/run/secrets`, that
    are written down nowhere. With
    `network_wished` it runs without a network where the backend has none.
    """

    argv: tuple[str, ...] | None = None
    language: str | None = None
    code: str | None = None
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    entry: str | None = None
    args: tuple[str, ...] = ()
    stdin: bytes | None = None
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    cwd: str = WORKSPACE
    function: str | None = None
    fuel: int | None = None
    wall_s: float = 30.0
    cpu_s: float | None = None
    output_bytes: int = 8 * MIB
    limits: Limits = field(default_factory=Limits)
    image: str = "host"
    preload: tuple[str, ...] = ()
    network: NetworkPolicy = field(default_factory=NetworkPolicy)
    network_wished: bool = False
    backend: str | None = None
    min_isolation: Isolation | None = None
    structured: bool = False


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """How it went. `timings` has `queue_ms`, `open_ms`, `run_ms` and `total_ms`.

    `id` is that of the sandbox, which served this execution only. `reported` is what a structured
    program gave back; None of another.
    """

    id: str
    exit: Exit
    stdout: bytes
    stderr: bytes
    truncated: bool
    timings: Mapping[str, float]
    backend: str
    reported: Reported | None = None


@dataclass(frozen=True, slots=True)
class Started:
    """The program has started in its sandbox."""

    id: str
    backend: str


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes as the program wrote them; a chunk may end within a character."""

    channel: Channel
    data: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event. `result` has empty bodies: they went by as `Output`."""

    result: ExecutionResult


Event = Started | Output | Finished
