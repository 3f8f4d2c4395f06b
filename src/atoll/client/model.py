"""What the server answers, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from atoll.client.errors import Problem


@dataclass(frozen=True, slots=True)
class Usage:
    """What a program and its children used; zero where the backend cannot measure it."""

    wall_s: float
    cpu_s: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class Exit:
    """How a program ended.

    `exit_code` is None unless the program itself chose one; `reason` is `exited`, `signal`,
    a limit (`wall_time`, `cpu_time`, `memory`, `output`, `pids`, `disk`, `open_files`, `fuel`),
    `trap` or `invalid` (of WebAssembly modules), `cancelled` or `unknown`. `detail` says more;
    `results` are what a called function returned.
    """

    exit_code: int | None
    reason: str
    signal: int | None
    truncated: bool
    usage: Usage
    detail: str = ""
    results: tuple[int | float | str | None, ...] = ()

    @property
    def ok(self) -> bool:
        """Ended by itself, with 0."""
        return self.reason == "exited" and self.exit_code == 0


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a program and what it wrote, byte for byte (`truncated` says if not all).

    `id` is the sandbox's. `timings` (of one-shots) are milliseconds. `result` and `error` are what
    code gave back that was run with `structured`.
    """

    id: str
    exit: Exit
    stdout_bytes: bytes
    stderr_bytes: bytes
    timings: Mapping[str, float]
    backend: str
    result: Any = None
    error: Any = None

    @property
    def stdout(self) -> str:
        """As text; what is not UTF-8 is replaced."""
        return self.stdout_bytes.decode("utf-8", "replace")

    @property
    def stderr(self) -> str:
        """As text; what is not UTF-8 is replaced."""
        return self.stderr_bytes.decode("utf-8", "replace")

    @property
    def exit_code(self) -> int | None:
        """The program's own code."""
        return self.exit.exit_code

    @property
    def reason(self) -> str:
        """Why it ended."""
        return self.exit.reason

    @property
    def ok(self) -> bool:
        """Ended by itself, with 0."""
        return self.exit.ok


@dataclass(frozen=True, slots=True)
class Started:
    """The first event of a stream. `pid` is None for a one-shot."""

    id: str
    pid: int | None
    backend: str


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes as the program wrote them; a piece may end within a character.

    `position` continues after this piece; `skipped` bytes before it are no longer kept.
    """

    channel: str
    data: bytes
    position: str | None
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of a stream; `result` and `error` as in `Result`."""

    id: str
    exit: Exit
    timings: Mapping[str, float]
    result: Any = None
    error: Any = None


Event = Started | Output | Finished
BatchItem = Result | Problem


@dataclass(frozen=True, slots=True)
class SandboxInfo:
    """A sandbox as it was when asked. Times are seconds since the epoch."""

    id: str
    name: str | None
    state: str
    backend: str
    image: str
    profile: str
    limits: Mapping[str, float]
    env: Mapping[str, str]
    labels: Mapping[str, str]
    base: str | None
    created_at: float
    last_used_at: float
    idle_timeout_s: float | None
    expires_at: float | None
    read_only_root: bool
    auto_delete_s: float | None
    secrets: tuple[str, ...]
    version: int
    ports: tuple[int, ...] = ()
    auto_archive_s: float | None = None
    archived_at: float | None = None
    archived_by: str | None = None


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A program in a sandbox; `exit` is None while it runs."""

    sandbox_id: str
    pid: int
    argv: tuple[str, ...]
    cwd: str
    tty: bool
    background: bool
    started_at: float
    ended_at: float | None
    exit: Exit | None


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One path. `href` is exact where the name is not UTF-8."""

    path: str
    href: str
    kind: str
    size: int
    mode: int
    mtime: float
    etag: str
    target: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to a path beneath a watched directory."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A frozen sandbox."""

    id: str
    name: str | None
    sandbox_id: str
    backend: str
    image: str
    created_at: float
    size_bytes: int
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PostMortem:
    """Why a sandbox ended: `client`, `idle`, `lifetime`, `memory`, `crash` or `restart`."""

    sandbox_id: str
    ended_by: str
    detail: str
    at: float
    last_output: str


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One line of the audit log."""

    seq: int
    at: float
    tenant: str
    actor: str
    action: str
    outcome: str
    sandbox_id: str | None
    detail: Mapping[str, str]
    hash: str = ""
    previous: str = ""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """An API key. `key` is the key itself, and there only when it was just made."""

    id: str
    tenant: str
    name: str
    prefix: str
    admin: bool
    created_at: float
    expires_at: float | None
    key: str | None


@dataclass(frozen=True, slots=True)
class EventPage:
    """A piece of the audit log; `next_cursor` goes on from here, also when nothing is there yet."""

    items: tuple[AuditEvent, ...]
    next_cursor: str


@dataclass(frozen=True, slots=True)
class LanguageInfo:
    """A language; `hint` says how to get it where it is not available."""

    name: str
    title: str
    aliases: tuple[str, ...]
    extension: str
    available: bool
    hint: str | None


@dataclass(frozen=True, slots=True)
class ProfileInfo:
    """A named set of rules. `network` is the mode it asks for, `network_in_force` what one gets."""

    name: str
    description: str
    default: bool
    limits: Mapping[str, float]
    network: str
    network_in_force: str
    min_isolation: str | None
    read_only_root: bool


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """A kind of isolation; `why` says why it is not usable."""

    name: str
    usable: bool
    isolation: str
    why: str
    capabilities: tuple[str, ...]
    facts: Mapping[str, str]
