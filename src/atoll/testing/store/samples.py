"""Records to write, and strings that a store must not trip over."""

from dataclasses import replace
from typing import Any

from atoll.core.model import Exit, ExitReason, Limits, NetworkPolicy, Usage
from atoll.core.records import (
    Event,
    IdempotencyRecord,
    KeyRecord,
    PostMortem,
    ProcessRecord,
    SandboxRecord,
    SnapshotRecord,
)
from atoll.core.states import State

TENANT = "reef"
OTHER = "lagoon"

ODD_TEXTS = (
    " ",
    "  a  ",
    "a",
    "A",
    "é",
    "e\u0301",
    "日本語",
    "😀",
    "\u202egnp",
    "a\0b",
    "\0",
    "\udcff\udc80",
    "caf\udce9",
    "\\",
    "\\\\",
    "\\u0000",
    "\\u",
    "%",
    "_",
    "a%",
    "'",
    '"',
    "'; DROP TABLE sandboxes; --",
    "a.b",
    "$.a[0]",
    "{}",
    "null",
    "a=b",
    "a:b,c",
    "\n\r\t\x1b[31m",
)
"""Text that users have or make up: not UTF-8, NUL, patterns, quotes, almost equal."""


def sandbox(number: int, **changes: Any) -> SandboxRecord:  # noqa: ANN401
    """A sandbox whose id sorts by `number`."""
    record = SandboxRecord(
        id=f"sb_{number:08}",
        tenant=TENANT,
        name=None,
        backend="fake",
        image="host",
        profile="moderate",
        limits=Limits(),
        network=NetworkPolicy(),
        state=State.CREATING,
        created_at=1_000.0 + number,
        last_used_at=1_000.0 + number,
    )
    return replace(record, **changes)


def full_sandbox(number: int) -> SandboxRecord:
    """A sandbox in which no field has its default."""
    return sandbox(
        number,
        name="büro 7",
        backend="other",
        image="debian:12",
        profile="restrictive",
        limits=Limits(2**40, 0.25, 7, 2**41, 9, 10),
        network=NetworkPolicy("allowlist", ("example.org", "10.0.0.0/8"), ("10.1.0.0/16",)),
        state=State.STOPPED,
        created_at=1_700_000_000.123456,
        last_used_at=1_700_000_001.654321,
        env={"Z": "1", "A": "two words", "EMPTY": ""},
        labels={"team": "blue", "a/b": "c=d"},
        base="snap_1",
        preload=("numpy", "pandas"),
        idle_timeout_s=0.5,
        expires_at=1_800_000_000.25,
        auto_delete_s=77.5,
        auto_archive_s=66.5,
        archived_at=5.5,
        archived_by="idle",
        secrets=("TOKEN", "KEY"),
        read_only_root=True,
        version=3,
        ports=(8080, 1),
    )


def process(sandbox_id: str, number: int, **changes: Any) -> ProcessRecord:  # noqa: ANN401
    """A running process."""
    record = ProcessRecord(
        sandbox_id=sandbox_id,
        number=number,
        argv=("sleep", "60"),
        cwd="/workspace",
        tty=False,
        background=False,
        started_at=1_000.5,
    )
    return replace(record, **changes)


def ended(record: ProcessRecord) -> ProcessRecord:
    """The same, with an exit in which no field has its default."""
    usage = Usage(wall_s=1.25, cpu_s=0.125, peak_memory_bytes=2**40)
    how = Exit(None, ExitReason.MEMORY, signal=9, truncated=True, usage=usage)
    return replace(record, ended_at=2_000.5, exit=how)


def snapshot(number: int, **changes: Any) -> SnapshotRecord:  # noqa: ANN401
    """A snapshot whose id sorts by `number`."""
    record = SnapshotRecord(
        id=f"snap_{number:08}",
        tenant=TENANT,
        name=None,
        sandbox_id="sb_1",
        backend="fake",
        image="host",
        created_at=1_000.0,
        size_bytes=2**40,
        labels={"é": "😀"},
        profile="restrictive",
        limits=Limits(2**40, 0.25, 7, 2**41, 9, 10),
        network=NetworkPolicy("allowlist", ("example.org",), ("10.1.0.0/16",)),
        read_only_root=True,
    )
    return replace(record, **changes)


def post_mortem(sandbox_id: str, **changes: Any) -> PostMortem:  # noqa: ANN401
    """Why a sandbox ended."""
    record = PostMortem(
        sandbox_id=sandbox_id,
        tenant=TENANT,
        name="n",
        ended_by="client",
        detail="asked to",
        at=2_000.0,
        limits=Limits(processes=3),
        last_output="bye\n",
    )
    return replace(record, **changes)


def event(action: str = "sandbox.create", **changes: Any) -> Event:  # noqa: ANN401
    """One line of the audit log."""
    record = Event(at=1_000.0, tenant=TENANT, actor="key k", action=action, outcome="ok")
    return replace(record, **changes)


def key(number: int, **changes: Any) -> KeyRecord:  # noqa: ANN401
    """An API key."""
    record = KeyRecord(
        id=f"key_{number:08}",
        tenant=TENANT,
        name="n",
        prefix=f"p{number}",
        digest=f"{number:064x}",
        admin=False,
        created_at=1_000.0,
    )
    return replace(record, **changes)


def claim(name: str = "k", **changes: Any) -> IdempotencyRecord:  # noqa: ANN401
    """A claimed idempotency key."""
    record = IdempotencyRecord(
        tenant=TENANT, key=name, request_digest="d", result="sb_1", at=1_000.0
    )
    return replace(record, **changes)
