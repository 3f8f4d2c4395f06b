"""The routes about the server."""

from collections import Counter

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from atoll.core.errors import Forbidden
from atoll.dialects.agentkernel import boxes, shapes
from atoll.dialects.agentkernel.shapes import Json
from atoll.dialects.agentkernel.state import State, caller, reply, state
from atoll.http.metrics import CONTENT_TYPE
from atoll.service.caller import Caller

router = APIRouter()
PUBLIC = frozenset({"/health"})


@router.get("/health")
async def health(request: Request) -> Response:
    """Whether the server answers: in the clients' words and in the document's."""
    _ = request
    return JSONResponse({"success": True, "data": "ok", "status": "ok"})


@router.get("/backends")
async def backends(request: Request) -> Response:
    """What isolation there is, and what each kind can do."""
    reports = await state(request).services.backends.reports()
    default = next((each.name for each in reports if each.usable), None)
    found = [shapes.backend(each) for each in reports]
    return reply({"default_backend": default, "backends": found})


@router.get("/status")
async def status(request: Request) -> Response:
    """How the server is, and how many sandboxes the caller has."""
    return reply(await _status(state(request), caller(request)))


@router.get("/stats")
async def stats(request: Request) -> Response:
    """The same with the numbers of the pool."""
    here = state(request)
    who = caller(request)
    body = await _status(here, who)
    return reply({**body, "pool": dict(here.services.pool.stats()) if who.admin else {}})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters and gauges, for Prometheus."""
    if not caller(request).admin:
        raise Forbidden("The metrics are of all tenants, so they are for admins only.")
    return Response(state(request).front.metrics.text(), headers={"content-type": CONTENT_TYPE})


@router.get("/doctor")
async def doctor(request: Request) -> Response:
    """What works on this host, and why what does not."""
    reports = await state(request).services.backends.reports()
    checks = [
        {
            "name": each.name,
            "ok": each.usable,
            "message": each.why or "ready",
            "facts": dict(each.facts),
            "limits": dict(each.limits),
        }
        for each in reports
    ]
    return reply({"healthy": any(each.usable for each in reports), "checks": checks})


async def _status(here: State, who: Caller) -> Json:
    reports = await here.services.backends.reports()
    found = await boxes.everyone(here, who)
    counts = Counter(shapes.info(each)["status"] for each in found)
    return {
        "status": "ok",
        "version": here.version,
        "uptime_seconds": int(here.services.clock.monotonic() - here.started_at),
        "backend": next((each.name for each in reports if each.usable), None),
        "sandboxes": {"total": len(found), **counts},
    }
