"""What is written down, and survives the server. Times are seconds since the epoch, UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atoll.core.model import Exit, Limits, NetworkPolicy
from atoll.core.states import State


@dataclass(frozen=True, slots=True)
class SandboxRecord:
    """A persistent sandbox. `version` grows by one with each write, for compare-and-set.

    `expires_at` is the lease: past it the janitor destroys the sandbox (None: never).
    `idle_timeout_s` after `last_used_at` the janitor stops it, `auto_archive_s` after it puts its
    files away, `auto_delete_s` after it destroys it (None: never). `archived_at` and `archived_by`
    (`client`, `idle`) are of the last time that this was done. Only its `ports` can be connected to
    from outside. `secrets` are names: their values are never written down.
    """

    id: str
    tenant: str
    name: str | None
    backend: str
    image: str
    profile: str
    limits: Limits
    network: NetworkPolicy
    state: State
    created_at: float
    last_used_at: float
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    base: str | None = None
    idle_timeout_s: float | None = None
    expires_at: float | None = None
    preload: tuple[str, ...] = ()
    read_only_root: bool = False
    version: int = 1
    ports: tuple[int, ...] = ()
    auto_delete_s: float | None = None
    secrets: tuple[str, ...] = ()
    auto_archive_s: float | None = None
    archived_at: float | None = None
    archived_by: str | None = None


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """A program started in a persistent sandbox; kept, with its exit, as long as the sandbox.

    `number` counts up from 1 within the sandbox and is never reused, also across restarts.
    `exit` is None while it runs; a process whose end nobody saw has reason `unknown`.
    """

    sandbox_id: str
    number: int
    argv: tuple[str, ...]
    cwd: str
    tty: bool
    background: bool
    started_at: float
    ended_at: float | None = None
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """A frozen sandbox, and the rules that it had: one that begins from it has them too."""

    id: str
    tenant: str
    name: str | None
    sandbox_id: str
    backend: str
    image: str
    created_at: float
    size_bytes: int
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    profile: str = ""
    limits: Limits = field(default_factory=Limits)
    network: NetworkPolicy = field(default_factory=NetworkPolicy)
    read_only_root: bool = False


@dataclass(frozen=True, slots=True)
class PostMortem:
    """Why a sandbox ended, kept after it is gone.

    `ended_by` is `client`, `idle`, `lifetime`, `memory`, `crash` or `restart`.
    """

    sandbox_id: str
    tenant: str
    name: str | None
    ended_by: str
    detail: str
    at: float
    limits: Limits
    last_output: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit log.

    The store gives `seq`, which grows by one, and the hashes (`core.chain`): the event's own and
    `previous`, of the event before it.
    """

    at: float
    tenant: str
    actor: str
    action: str
    outcome: str
    sandbox_id: str | None = None
    detail: Mapping[str, str] = field(default_factory=dict[str, str])
    seq: int = 0
    previous: str = ""
    hash: str = ""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An API key. The key itself is never stored, only its hash.

    `digest` is the SHA-256 of the whole key (keys have 256 random bits, so a slow hash would
    protect nothing). `prefix` is what listings show. Quotas of None are the server's defaults.
    """

    id: str
    tenant: str
    name: str
    prefix: str
    digest: str
    admin: bool
    created_at: float
    expires_at: float | None = None
    max_sandboxes: int | None = None
    max_concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """What a create with that key made. `request_digest` tells a retry from a reuse."""

    tenant: str
    key: str
    request_digest: str
    result: str
    at: float


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """What a dialect keeps beside its sandboxes: a JSON object, by its `space` and `id`.

    `owner` is what it belongs to, such as a sandbox's id; ids of one space sort by time.
    """

    space: str
    id: str
    owner: str
    at: float
    body: Mapping[str, Any]
