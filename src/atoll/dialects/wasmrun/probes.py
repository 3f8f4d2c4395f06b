"""The routes about the server: health, readiness, tools, metrics."""

from contextlib import suppress
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from atoll.core.errors import AtollError
from atoll.dialects.wasmrun import tools
from atoll.dialects.wasmrun.errors import BadRequest
from atoll.dialects.wasmrun.files import SessionFiles
from atoll.dialects.wasmrun.metrics import CONTENT_TYPE
from atoll.dialects.wasmrun.sessions import Session
from atoll.dialects.wasmrun.state import State, caller, state

router = APIRouter()
PUBLIC = frozenset({"/health", "/ready"})
_PAGE_BYTES = 64 * 1024


@router.get("/health")
async def health(request: Request) -> Response:
    """Whether the server answers."""
    here = state(request)
    up = here.front.services.clock.monotonic() - here.started_at
    body = {"status": "ok", "version": here.version, "uptime_seconds": int(up)}
    return JSONResponse(body)


@router.get("/ready")
async def ready(request: Request) -> Response:
    """Whether another session, and another execution, would be taken."""
    here = state(request)
    reason = "ok"
    if here.front.streams.draining:
        reason = "shutting_down"
    elif here.sessions.is_full():
        reason = "at_session_capacity"
    elif here.executor.is_full:
        reason = "at_exec_capacity"
    good = reason == "ok"
    body = {"status": "ready" if good else "unready", "reason": reason}
    return JSONResponse(body, status_code=200 if good else 503)


@router.get("/tools")
async def tool_schemas(request: Request) -> Response:
    """The schemas that a model is given."""
    wanted = request.query_params.get("format", "openai")
    if wanted == "openai":
        return JSONResponse(tools.openai())
    if wanted == "anthropic":
        return JSONResponse(tools.anthropic())
    raise BadRequest(f"Unknown format: '{wanted}'. Use openai or anthropic")


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters, for Prometheus or in JSON."""
    here = state(request)
    disk = [await _disk(here, each) for each in here.sessions.everyone()]
    numbers = {
        "created": here.sessions.created,
        "active": here.sessions.active,
        "total": len(disk),
        "disk_bytes": sum(each["disk_bytes"] for each in disk),
    }
    if request.query_params.get("format") != "json":
        return Response(here.metrics.text(numbers), headers={"content-type": CONTENT_TYPE})
    body: dict[str, Any] = here.metrics.flat(numbers)
    if here.tenants is None:
        mine = {each.id for each in await here.sessions.list(caller(request))}
        body["sessions"] = [each for each in disk if each["id"] in mine]
    return JSONResponse(body)


async def _disk(here: State, session: Session) -> dict[str, Any]:
    files = SessionFiles(here.front.services.files, session)
    pages = session.limits.max_memory_mb * 1024 * 1024 // _PAGE_BYTES
    known = session.disk_bytes
    used = known
    if known is None and not session.busy:
        with suppress(AtollError):
            used = await files.used_bytes()
    return {"id": session.id, "disk_bytes": used or 0, "memory_cap_pages": pages or None}
