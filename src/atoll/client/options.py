"""The keyword arguments of calls. What is left out is left to the server."""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict

Isolation = Literal["shared_kernel", "interposed", "virtual_machine"]
Content = str | bytes


class Limits(TypedDict, total=False):
    """Bounds of a sandbox, laid over those of the profile."""

    memory_bytes: int
    cpus: float
    processes: int
    disk_bytes: int
    disk_files: int
    open_files: int


class RunLimits(Limits, total=False):
    """The same, with those of a one-shot's program."""

    cpu_s: float
    output_bytes: int


class Network(TypedDict, total=False):
    """What may be reached; without it nothing but a loopback of its own."""

    mode: Literal["none", "allow", "internet"]
    allow: Sequence[str]
    deny: Sequence[str]


class ProgramOptions(TypedDict, total=False):
    """What every program may be given."""

    args: Sequence[str]
    stdin: Content
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    cwd: str
    files: Mapping[str, Content]
    timeout_s: float
    fuel: int
    structured: bool


class Placement(TypedDict, total=False):
    """Where something runs: `backend` or `min_isolation`, not both."""

    profile: str
    backend: str
    min_isolation: Isolation
    image: str
    network: Network
    preload: Sequence[str]


class OneShotOptions(ProgramOptions, Placement, total=False):
    """What `execute` and `run` have in common."""

    limits: RunLimits


class RunOptions(OneShotOptions, total=False):
    """Of `run`: `function` calls an export of the WebAssembly module that the command names."""

    function: str


class CodeOptions(OneShotOptions, total=False):
    """Of `execute`: with `files`, `entry` says which of them to run."""

    entry: str


class ExecOptions(ProgramOptions, total=False):
    """Of a program in a sandbox that is there: a command is given, or `language` and `code`."""

    language: str
    code: str
    entry: str
    function: str
    cpu_s: float
    output_bytes: int


class StartOptions(ExecOptions, total=False):
    """Of a program that goes on without its client."""

    tty: tuple[int, int]
    stdin_open: bool


class SandboxOptions(Placement, total=False):
    """Of a new sandbox. `idle_timeout_s` or `lifetime_s` of None is never; absent, the default."""

    name: str
    limits: Limits
    env: Mapping[str, str]
    labels: Mapping[str, str]
    idle_timeout_s: float | None
    lifetime_s: float | None
    auto_delete_s: float | None
    auto_archive_s: float | None
    secrets: Mapping[str, str]
    base: str
    ports: Sequence[int]


class SandboxChanges(TypedDict, total=False):
    """What to change of a sandbox; what is absent stays. `lifetime_s` counts from now."""

    name: str | None
    labels: Mapping[str, str] | None
    idle_timeout_s: float | None
    lifetime_s: float | None
    auto_delete_s: float | None
    auto_archive_s: float | None
    secrets: Mapping[str, str] | None


class EventChoice(TypedDict, total=False):
    """Which events: `actions` are whole ones, or all that begin as `sandbox.*` does."""

    sandbox: str
    actions: Sequence[str]
    since: float
    until: float


class KeyOptions(TypedDict, total=False):
    """Of a new API key."""

    tenant: str
    admin: bool
    expires_in_s: float
    max_sandboxes: int
    max_concurrent: int
