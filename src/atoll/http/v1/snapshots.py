"""Snapshots of persistent sandboxes."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.http.answers import reply, snapshot_body
from atoll.http.bodies import read_optional
from atoll.http.describe import op
from atoll.http.front import caller, front
from atoll.http.schemas.sandbox import CopyRequest, SnapshotOut, SnapshotPage
from atoll.http.v1.parameters import Cursor, IdempotencyKey, Limit, SandboxRef, SnapshotRef

router = APIRouter(tags=["snapshots"])


@router.post(
    "/v1/sandboxes/{sandbox}/snapshots",
    **op(
        "take_snapshot",
        takes=CopyRequest,
        optional=True,
        gives=SnapshotOut,
        status=201,
        fails=(404, 409, 410, 424, 429),
    ),
)
async def take(
    request: Request, sandbox: SandboxRef, idempotency_key: IdempotencyKey = None
) -> Response:
    """Freeze its files, to begin other sandboxes from."""
    wanted = await read_optional(request, CopyRequest)
    taken = await front(request).services.snapshots.take(
        caller(request),
        sandbox,
        name=wanted.name,
        labels=wanted.labels if "labels" in wanted.model_fields_set else None,
        force=wanted.force,
        idempotency_key=idempotency_key,
    )
    return reply(snapshot_body(taken), 201)


@router.get("/v1/snapshots", **op("list_snapshots", gives=SnapshotPage))
async def list_all(request: Request, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """List snapshots, the oldest first."""
    found = await front(request).services.snapshots.list(
        caller(request), after=cursor, limit=limit + 1
    )
    more = found[limit - 1].id if len(found) > limit else None
    return reply({"items": [snapshot_body(each) for each in found[:limit]], "next_cursor": more})


@router.get("/v1/snapshots/{snapshot}", **op("get_snapshot", gives=SnapshotOut, fails=(404,)))
async def get(request: Request, snapshot: SnapshotRef) -> Response:
    """Read a snapshot."""
    found = await front(request).services.snapshots.get(caller(request), snapshot)
    return reply(snapshot_body(found))


@router.delete("/v1/snapshots/{snapshot}", **op("drop_snapshot", status=204, fails=(404, 409, 424)))
async def drop(request: Request, snapshot: SnapshotRef) -> Response:
    """Forget it. Sandboxes that began with it stay."""
    await front(request).services.snapshots.drop(caller(request), snapshot)
    return Response(status_code=204)
