"""Probes for whoever watches the server."""

import anyio
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import AtollError, Forbidden
from atoll.http.answers import reply
from atoll.http.describe import op
from atoll.http.front import caller, front
from atoll.http.metrics import CONTENT_TYPE
from atoll.http.schemas.catalog import HealthOut, ReadyOut

router = APIRouter(tags=["probes"])
PATIENCE_S = 5.0


@router.get("/healthz", **op("healthz", gives=HealthOut))
async def healthz() -> Response:
    """Whether the server answers at all."""
    return reply({"status": "ok"})


@router.get(
    "/readyz",
    **op("readyz", gives=ReadyOut, answers={503: {"description": "Not now; `checks` says why."}}),
)
async def readyz(request: Request) -> Response:
    """Whether work would be taken: the records can be read and a backend is usable."""
    services = front(request).services
    checks: dict[str, str] = {"store": "too slow", "backends": "too slow"}
    with anyio.move_on_after(PATIENCE_S):
        try:
            await services.store.list_events(limit=1)
            checks["store"] = "ok"
        except (AtollError, OSError) as error:
            checks["store"] = type(error).__name__
        reports = await services.backends.reports()
        usable = [report.name for report in reports if report.usable]
        checks["backends"] = "ok" if usable else "none is usable"
    ready = set(checks.values()) == {"ok"}
    journal = services.audit.journal
    if journal is not None:  # told, but no reason to take no work
        checks["audit_file"] = "ok" if journal.failure is None else journal.failure
    return reply({"status": "ok" if ready else "unready", "checks": checks}, 200 if ready else 503)


@router.get(
    "/metrics",
    **op(
        "metrics",
        answers={
            200: {
                "description": "Prometheus' text format.",
                "content": {"text/plain": {"schema": {"type": "string"}}},
            }
        },
    ),
)
async def metrics(request: Request) -> Response:
    """Numbers for Prometheus. They are of all tenants, so for admins only."""
    if not caller(request).admin:
        raise Forbidden("Only an admin may read the metrics.")
    return Response(front(request).metrics.text(), headers={"content-type": CONTENT_TYPE})
