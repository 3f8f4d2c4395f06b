"""Persistent sandboxes and their snapshots."""

from typing import Annotated

from pydantic import ConfigDict, Field

from atoll.core.states import State
from atoll.http.schemas.execution import LimitsIn, Placement
from atoll.http.schemas.words import (
    AnswerModel,
    Env,
    Labels,
    RequestModel,
    SandboxName,
    Secrets,
    Word,
)

Lease = Annotated[float, Field(gt=0, le=10 * 365 * 86_400)]


class CreateSandboxRequest(Placement):
    """A sandbox to make. Without a name it is known by its id."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "notes", "labels": {"team": "blue"}}]}
    )

    name: SandboxName | None = None
    limits: LimitsIn | None = None  # type: ignore[assignment]
    env: Env = Field(default_factory=dict[str, str])
    secrets: Secrets = Field(
        default_factory=dict[str, str],
        repr=False,
        description="Variables, or files of `/run/secrets`, for every program; in memory only.",
    )
    labels: Labels = Field(default_factory=dict[str, str])
    idle_timeout_s: Lease | None = Field(
        default=None,
        description="Stopped after this long without use. Null: never. Absent: the default.",
    )
    lifetime_s: Lease | None = Field(
        default=None, description="Destroyed this long from now. Null: never. Absent: the default."
    )
    auto_delete_s: Lease | None = Field(
        default=None,
        description="Destroyed after this long without use. Null: never. Absent: the default.",
    )
    auto_archive_s: Lease | None = Field(
        default=None,
        description="Archived after this long without use. Null: never. Absent: the default.",
    )
    base: Word | None = Field(
        default=None, description="The snapshot to begin with, by id or name."
    )
    ports: list[Annotated[int, Field(ge=1, le=65_535)]] = Field(
        default_factory=list[int],
        max_length=64,
        description="Ports of its loopback that may be reached at `…/ports/{port}/`; no others.",
    )


class ChangeSandboxRequest(RequestModel):
    """What to change; a field that is absent stays as it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lifetime_s": 86400}]})

    name: SandboxName | None = Field(default=None, description="Null takes the name away.")
    labels: Labels | None = Field(default=None, description="All labels; null takes them away.")
    idle_timeout_s: Lease | None = Field(
        default=None, description="Null: never stopped for being idle."
    )
    lifetime_s: Lease | None = Field(default=None, description="From now on. Null: no lease.")
    auto_delete_s: Lease | None = Field(
        default=None, description="Null: never destroyed for being idle."
    )
    auto_archive_s: Lease | None = Field(
        default=None, description="Null: never archived for being idle."
    )
    secrets: Secrets | None = Field(
        default=None, repr=False, description="All secrets; null takes them away."
    )


class CopyRequest(RequestModel):
    """How to call the fork or the snapshot."""

    name: SandboxName | None = None
    labels: Labels = Field(default_factory=dict[str, str])
    force: bool = Field(
        default=False, description="End the processes that run in it, where they hinder."
    )


class LimitsOut(AnswerModel):
    """The limits in force."""

    memory_bytes: int
    cpus: float
    processes: int
    disk_bytes: int
    disk_files: int
    open_files: int


class NetworkOut(AnswerModel):
    """The network policy in force."""

    mode: str
    allow: list[str]
    deny: list[str]


class NetworkNowOut(NetworkOut):
    """The same with the sandbox's own addresses; none while it is stopped or has no network."""

    addresses: list[str]


class SandboxOut(AnswerModel):
    """A persistent sandbox. Times are seconds since the epoch."""

    id: str
    name: str | None
    state: State
    backend: str
    image: str
    profile: str
    limits: LimitsOut
    network: NetworkOut
    env: dict[str, str]
    labels: dict[str, str]
    base: str | None
    created_at: float
    last_used_at: float
    idle_timeout_s: float | None
    expires_at: float | None
    read_only_root: bool
    auto_delete_s: float | None
    auto_archive_s: float | None
    archived_at: float | None = Field(description="Null while it is not archived.")
    archived_by: str | None = Field(description="`client` or `idle`, likewise.")
    secrets: list[str] = Field(description="Their names.")
    version: int
    ports: list[int]


class SandboxPage(AnswerModel):
    """Ordered by age. `next_cursor` is null on the last page."""

    items: list[SandboxOut]
    next_cursor: str | None


class PostMortemOut(AnswerModel):
    """Why a sandbox ended: `client`, `idle`, `lifetime`, `memory`, `crash` or `restart`."""

    sandbox_id: str
    name: str | None
    ended_by: str
    detail: str
    at: float
    limits: LimitsOut
    last_output: str


class SnapshotOut(AnswerModel):
    """A frozen sandbox, to begin others from."""

    id: str
    name: str | None
    sandbox_id: str
    backend: str
    image: str
    created_at: float
    size_bytes: int
    labels: dict[str, str]
    profile: str
    limits: LimitsOut


class SnapshotPage(AnswerModel):
    """Ordered by age. `next_cursor` is null on the last page."""

    items: list[SnapshotOut]
    next_cursor: str | None
