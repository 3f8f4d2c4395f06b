"""From the service's values to the bodies that `schemas` describe, without a detour by models."""

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic_core import PydanticSerializationError, to_json
from starlette.responses import Response

from atoll.core.model import BackendReport, Exit, Limits, NetworkPolicy, Stat
from atoll.core.records import (
    Event,
    KeyRecord,
    PostMortem,
    ProcessRecord,
    SandboxRecord,
    SnapshotRecord,
)
from atoll.core.states import State
from atoll.http.errors import printable
from atoll.service.execution import ExecutionResult
from atoll.service.reports import Reported

Json = dict[str, Any]
FILE_MEDIA_TYPE = "application/vnd.atoll.file+json"


def encoded(body: object) -> bytes:
    """JSON, also of what a guest has put halves of characters into."""
    try:
        return to_json(body)
    except (PydanticSerializationError, UnicodeEncodeError):
        return json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()


def reply(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(
        encoded(body),
        status_code=status,
        media_type="application/json",
        headers=None if headers is None else dict(headers),
    )


def text(data: bytes, encoding: str) -> str:
    """Bytes as the request wanted them: marks for what is not UTF-8, or base64."""
    if encoding == "base64":
        return base64.b64encode(data).decode("ascii")
    return data.decode("utf-8", "replace")


def exact(data: bytes) -> tuple[str, str]:
    """Bytes and how they are written: as text if that is exact, else base64."""
    try:
        return data.decode(), "utf-8"
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii"), "base64"


def exit_body(end: Exit) -> Json:
    """How a program ended."""
    usage = end.usage
    return {
        "exit_code": end.code,
        "reason": end.reason.value,
        "signal": end.signal,
        "truncated": end.truncated,
        "detail": printable(end.detail),
        "results": list(end.results),
        "usage": {
            "wall_s": usage.wall_s,
            "cpu_s": usage.cpu_s,
            "peak_memory_bytes": usage.peak_memory_bytes,
        },
    }


def end_body(result: ExecutionResult) -> Json:
    """A one-shot without its bodies."""
    body: Json = {"id": result.id, **exit_body(result.exit)}
    body["truncated"] = result.truncated
    body["timings"] = result.timings
    body["backend"] = result.backend
    return body if result.reported is None else body | reported_body(result.reported)


def reported_body(reported: Reported) -> Json:
    """What a structured program gave back."""
    return {"result": reported.result, "error": reported.error}


def result_body(result: ExecutionResult, encoding: str) -> Json:
    """A one-shot."""
    body = end_body(result)
    body["stdout"] = text(result.stdout, encoding)
    body["stderr"] = text(result.stderr, encoding)
    body["encoding"] = encoding
    return body


def limits_body(limits: Limits) -> Json:
    """The limits in force."""
    return {name: getattr(limits, name) for name in Limits.__dataclass_fields__}


def network_body(network: NetworkPolicy) -> Json:
    """A network policy."""
    return {"mode": network.mode, "allow": list(network.allow), "deny": list(network.deny)}


def sandbox_body(record: SandboxRecord) -> Json:
    """A sandbox."""
    return {
        "id": record.id,
        "name": record.name,
        "state": record.state.value,
        "backend": record.backend,
        "image": record.image,
        "profile": record.profile,
        "limits": limits_body(record.limits),
        "network": network_body(record.network),
        "env": dict(record.env),
        "labels": dict(record.labels),
        "base": record.base,
        "created_at": record.created_at,
        "last_used_at": record.last_used_at,
        "idle_timeout_s": record.idle_timeout_s,
        "expires_at": record.expires_at,
        "read_only_root": record.read_only_root,
        "auto_delete_s": record.auto_delete_s,
        "auto_archive_s": record.auto_archive_s,
        "archived_at": record.archived_at if record.state is State.ARCHIVED else None,
        "archived_by": record.archived_by if record.state is State.ARCHIVED else None,
        "secrets": list(record.secrets),
        "version": record.version,
        "ports": list(record.ports),
    }


def post_mortem_body(record: PostMortem) -> Json:
    """Why a sandbox ended."""
    return {
        "sandbox_id": record.sandbox_id,
        "name": record.name,
        "ended_by": record.ended_by,
        "detail": printable(record.detail),
        "at": record.at,
        "limits": limits_body(record.limits),
        "last_output": printable(record.last_output),
    }


def snapshot_body(record: SnapshotRecord) -> Json:
    """A snapshot."""
    return {
        "id": record.id,
        "name": record.name,
        "sandbox_id": record.sandbox_id,
        "backend": record.backend,
        "image": record.image,
        "created_at": record.created_at,
        "size_bytes": record.size_bytes,
        "labels": dict(record.labels),
        "profile": record.profile,
        "limits": limits_body(record.limits),
    }


def process_body(record: ProcessRecord) -> Json:
    """A process."""
    return {
        "pid": record.number,
        "sandbox_id": record.sandbox_id,
        "argv": list(record.argv),
        "cwd": record.cwd,
        "tty": record.tty,
        "background": record.background,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "exit": None if record.exit is None else exit_body(record.exit),
    }


def entry_body(stat: Stat, sandbox: str) -> Json:
    """One path."""
    raw = stat.path.encode("utf-8", "surrogateescape")
    where = raw.removeprefix(b"/workspace/") if raw.startswith(b"/workspace/") else raw
    return {
        "path": printable(stat.path),
        "href": f"/v1/sandboxes/{quote(sandbox, safe='')}/files/{quote(where)}",
        "kind": stat.kind.value,
        "size": stat.size,
        "mode": stat.mode,
        "mtime": stat.mtime_ns / 1e9,
        "etag": stat.etag,
        "target": None if stat.target is None else printable(stat.target),
    }


def event_body(event: Event) -> Json:
    """A line of the audit log."""
    return {
        "seq": event.seq,
        "at": event.at,
        "tenant": event.tenant,
        "actor": event.actor,
        "action": event.action,
        "outcome": event.outcome,
        "sandbox_id": event.sandbox_id,
        "detail": {key: printable(value) for key, value in event.detail.items()},
        "previous": event.previous,
        "hash": event.hash,
    }


def key_body(record: KeyRecord) -> Json:
    """A key without the key."""
    return {
        "id": record.id,
        "tenant": record.tenant,
        "name": record.name,
        "prefix": record.prefix,
        "admin": record.admin,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "max_sandboxes": record.max_sandboxes,
        "max_concurrent": record.max_concurrent,
    }


def backend_body(report: BackendReport) -> Json:
    """What a backend can do here."""
    return {
        "name": report.name,
        "usable": report.usable,
        "isolation": report.isolation.name.lower(),
        "why": report.why,
        "capabilities": sorted(report.capabilities),
        "limits": dict(report.limits),
        "facts": dict(report.facts),
    }
