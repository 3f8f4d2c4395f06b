"""From records to what agentkernel's clients read."""

import math
from collections.abc import Mapping
from typing import Any

from atoll.core.model import MIB, BackendReport
from atoll.core.records import Event, ProcessRecord, SandboxRecord, SnapshotRecord
from atoll.core.states import State
from atoll.dialects.agentkernel.notes import IMAGE, notes, plain
from atoll.dialects.agentkernel.programs import exit_code, whole_cpus
from atoll.dialects.agentkernel.words import moment, name_of, uuid_of

Json = dict[str, Any]
# What a snapshot remembers of its sandbox, among its labels: the name.
SANDBOX = "agentkernel.sandbox"
_STATUS = {State.RUNNING: "running", State.PAUSED: "paused", State.ARCHIVED: "archived"}


def info(record: SandboxRecord) -> Json:
    """SandboxInfo."""
    return {
        "name": name_of(record),
        "uuid": uuid_of(record.id),
        "status": _STATUS.get(record.state, "stopped"),
        "backend": record.backend,
        "image": image_of(record),
        "vcpus": whole_cpus(record.limits.cpus),
        "memory_mb": record.limits.memory_bytes // MIB,
        "created_at": moment(record.created_at),
        "last_activity_at": moment(record.last_used_at),
        "profile": record.profile,
        "labels": plain(record.labels),
        **{name: text for name, text in notes(record.labels).items() if name != IMAGE},
        "ports": list(record.ports),
        "endpoints": [
            {"port": port, "path": f"/v1/sandboxes/{record.id}/ports/{port}/"}
            for port in record.ports
        ],
        "placeholder_secrets": False,
        **_archived(record),
        "lifecycle": {
            "auto_stop_after_seconds": _whole(record.idle_timeout_s),
            "auto_archive_after_seconds": _whole(record.auto_archive_s),
            "auto_delete_after_seconds": _whole(record.auto_delete_s),
        },
    }


def _archived(record: SandboxRecord) -> Json:
    if record.state is not State.ARCHIVED or record.archived_at is None:
        return {"archived_at": None, "archived_reason": None}
    return {"archived_at": moment(record.archived_at), "archived_reason": record.archived_by}


def image_of(record: SandboxRecord | SnapshotRecord) -> str:
    """The image as a client named it, else as it is named here."""
    return notes(record.labels).get(IMAGE, record.image)


def _whole(seconds: float | None) -> int | None:
    return None if seconds is None else math.ceil(seconds)


def detached(record: ProcessRecord, sandbox: str) -> Json:
    """DetachedCommand."""
    body: Json = {
        "id": str(record.number),
        "sandbox": sandbox,
        "command": list(record.argv),
        "pid": record.number,
        "status": "running",
        "started_at": moment(record.started_at),
    }
    if record.exit is not None:
        code = exit_code(record.exit)
        body |= {"status": "failed" if code else "completed", "exit_code": code}
    return body


def snapshot(record: SnapshotRecord) -> Json:
    """SnapshotMeta."""
    name = snapshot_name(record)
    return {
        "name": name,
        "sandbox": record.labels.get(SANDBOX, record.sandbox_id),
        "image_tag": f"agentkernel-snap:{name}",
        "backend": record.backend,
        "base_image": image_of(record),
        "vcpus": whole_cpus(record.limits.cpus),
        "memory_mb": record.limits.memory_bytes // MIB,
        "created_at": moment(record.created_at),
        "size_bytes": record.size_bytes,
    }


def snapshot_name(record: SnapshotRecord) -> str:
    """What it is called here."""
    return record.name or record.id


def backend(report: BackendReport, *, configured: bool = True) -> Json:
    """One backend, and what agentkernel's clients can do with it."""
    able = report.capabilities
    return {
        "backend": report.name,
        "configured": configured,
        "usable": report.usable,
        "readiness_reason": report.why or "ready",
        "capabilities": {
            "mount_cwd": False,
            "mount_home": False,
            "attach": False,
            "host_volumes": False,
            "ssh": False,
            "proxy_secret_bindings": False,
            "secret_files": False,
            "snapshots": "snapshots" in able,
            "resume": report.usable,
            "full_state_pause_resume": "pause" in able,
            "full_state_fork": False,
            "endpoints": "ports" in able,
        },
    }


_LOGGED: Mapping[str, str] = {
    "sandbox.create": "sandbox_created",
    "sandbox.start": "sandbox_started",
    "sandbox.stop": "sandbox_stopped",
    "sandbox.stopped": "sandbox_stopped",
    "sandbox.destroy": "sandbox_removed",
    "process.run": "command_executed",
    "process.start": "command_executed",
    "process.attach": "session_attached",
    "file.write": "file_written",
    "file.read": "file_read",
}
LOGGED = tuple(_LOGGED)


def told(event: Event) -> bool:
    """Whether it happened, and is not told by the event of the caller who asked for it, too."""
    return event.outcome == "ok" and event.detail.get("by") != "client"


def log_entries(event: Event, name: str, pid: int, argv: list[str]) -> list[Json]:
    """What an event of the audit log is in agentkernel's words, with both sets of keys.

    There a sandbox that is created is also started, which are two entries.
    """
    if not told(event):
        return []
    kinds = [_LOGGED[event.action]]
    if event.action == "sandbox.create":
        kinds.append("sandbox_started")
    return [_entry(event, kind, name, pid, argv) for kind in kinds]


def _entry(event: Event, kind: str, name: str, pid: int, argv: list[str]) -> Json:
    body: Json = {
        "timestamp": moment(event.at),
        "pid": pid,
        "user": event.actor,
        "type": kind,
        "event": kind,
        "name": name,
        "sandbox": name,
    }
    detail = event.detail
    if kind == "sandbox_created":
        body |= {key: detail[key] for key in ("image", "backend") if key in detail}
    elif kind == "sandbox_started" and "profile" in detail:
        body["profile"] = detail["profile"]
    elif kind == "command_executed":
        code = detail.get("exit_code", "")
        body |= {"command": argv, "exit_code": int(code) if code.isdecimal() else None}
    elif "path" in detail:
        body["path"] = detail["path"]
    return body
