"""Persistent sandboxes: create, list, read, change, destroy."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import InvalidRequest
from atoll.core.records import SandboxRecord
from atoll.core.states import State
from atoll.http.answers import post_mortem_body, reply, sandbox_body
from atoll.http.bodies import read, read_optional
from atoll.http.describe import op
from atoll.http.front import caller, front
from atoll.http.schemas.sandbox import (
    ChangeSandboxRequest,
    CopyRequest,
    CreateSandboxRequest,
    PostMortemOut,
    SandboxOut,
    SandboxPage,
)
from atoll.http.v1.parameters import Cursor, IdempotencyKey, LabelFilter, Limit, SandboxRef

router = APIRouter(tags=["sandboxes"])
Version = Annotated[
    str | None,
    Header(max_length=32, description="The sandbox's ETag: change it only if it is still that."),
]


def sandbox_reply(record: SandboxRecord, status: int = 200) -> Response:
    """A sandbox, with its version as ETag."""
    return reply(sandbox_body(record), status, {"etag": f'"{record.version}"'})


@router.post(
    "/v1/sandboxes",
    **op(
        "create_sandbox",
        takes=CreateSandboxRequest,
        optional=True,
        gives=SandboxOut,
        status=201,
        fails=(404, 409, 410, 424, 429),
    ),
)
async def create(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Make a sandbox that keeps its files, and start it."""
    here = front(request)
    wanted = await read_optional(request, CreateSandboxRequest)
    made = await here.services.sandboxes.create(
        here.translator.create(wanted), caller(request), idempotency_key
    )
    return sandbox_reply(made, 201)


@router.get("/v1/sandboxes", **op("list_sandboxes", gives=SandboxPage))
async def list_all(
    request: Request,
    limit: Limit = 100,
    cursor: Cursor = None,
    label: LabelFilter = None,
    state: Annotated[
        list[State] | None,
        Query(max_length=16, description="Only these states; absent: the living ones."),
    ] = None,
) -> Response:
    """List sandboxes, the oldest first."""
    pairs = dict(each.split("=", 1) for each in label or ())
    found = await front(request).services.sandboxes.list(
        caller(request), labels=pairs or None, states=state, after=cursor, limit=limit + 1
    )
    more = found[limit - 1].id if len(found) > limit else None
    return reply({"items": [sandbox_body(each) for each in found[:limit]], "next_cursor": more})


@router.get("/v1/sandboxes/{sandbox}", **op("get_sandbox", gives=SandboxOut, fails=(404,)))
async def get(request: Request, sandbox: SandboxRef) -> Response:
    """Read a sandbox, also one that has ended (by its id)."""
    return sandbox_reply(await front(request).services.sandboxes.get(caller(request), sandbox))


@router.patch(
    "/v1/sandboxes/{sandbox}",
    **op(
        "change_sandbox",
        takes=ChangeSandboxRequest,
        gives=SandboxOut,
        fails=(404, 409, 410, 412),
    ),
)
async def change(request: Request, sandbox: SandboxRef, if_match: Version = None) -> Response:
    """Rename, relabel, extend."""
    here = front(request)
    wanted = here.translator.change(await read(request, ChangeSandboxRequest))
    wanted = replace(wanted, if_version=_version(if_match))
    changed = await here.services.sandboxes.update(caller(request), sandbox, wanted)
    return sandbox_reply(changed)


@router.delete(
    "/v1/sandboxes/{sandbox}", **op("destroy_sandbox", gives=SandboxOut, fails=(404, 409))
)
async def destroy(request: Request, sandbox: SandboxRef) -> Response:
    """End it and remove its files. Its record and its post-mortem stay for a while."""
    return sandbox_reply(await front(request).services.sandboxes.destroy(caller(request), sandbox))


@router.get(
    "/v1/sandboxes/{sandbox}/post-mortem",
    **op("get_post_mortem", gives=PostMortemOut, fails=(404,)),
)
async def post_mortem(request: Request, sandbox: SandboxRef) -> Response:
    """Why it has ended."""
    found = await front(request).services.sandboxes.post_mortem(caller(request), sandbox)
    return reply(post_mortem_body(found))


@router.post(
    "/v1/sandboxes/{sandbox}/stop", **op("stop_sandbox", gives=SandboxOut, fails=(404, 409, 410))
)
async def stop(request: Request, sandbox: SandboxRef) -> Response:
    """End its processes and keep its files; it starts again on the next use."""
    return sandbox_reply(await front(request).services.sandboxes.stop(caller(request), sandbox))


@router.post(
    "/v1/sandboxes/{sandbox}/start",
    **op("start_sandbox", gives=SandboxOut, fails=(404, 409, 410, 424, 429)),
)
async def start(request: Request, sandbox: SandboxRef) -> Response:
    """Start it now instead of on the next use."""
    return sandbox_reply(await front(request).services.sandboxes.start(caller(request), sandbox))


@router.post(
    "/v1/sandboxes/{sandbox}/archive",
    **op("archive_sandbox", gives=SandboxOut, fails=(404, 409, 410)),
)
async def archive(request: Request, sandbox: SandboxRef) -> Response:
    """Stop it and pack its files, so that they take less room; the next use unpacks them."""
    return sandbox_reply(await front(request).services.sandboxes.archive(caller(request), sandbox))


@router.post(
    "/v1/sandboxes/{sandbox}/pause", **op("pause_sandbox", gives=SandboxOut, fails=(404, 409, 410))
)
async def pause(request: Request, sandbox: SandboxRef) -> Response:
    """Let its processes stand still, with their memory; only resume lets them go on."""
    return sandbox_reply(await front(request).services.sandboxes.pause(caller(request), sandbox))


@router.post(
    "/v1/sandboxes/{sandbox}/resume",
    **op("resume_sandbox", gives=SandboxOut, fails=(404, 409, 410)),
)
async def resume(request: Request, sandbox: SandboxRef) -> Response:
    """Let the processes of a paused sandbox go on."""
    return sandbox_reply(await front(request).services.sandboxes.resume(caller(request), sandbox))


@router.post(
    "/v1/sandboxes/{sandbox}/fork",
    **op(
        "fork_sandbox",
        takes=CopyRequest,
        optional=True,
        gives=SandboxOut,
        status=201,
        fails=(404, 409, 410, 424, 429),
    ),
)
async def fork(
    request: Request, sandbox: SandboxRef, idempotency_key: IdempotencyKey = None
) -> Response:
    """Make another with a copy of its files, in constant time."""
    wanted = await read_optional(request, CopyRequest)
    made = await front(request).services.sandboxes.fork(
        caller(request),
        sandbox,
        name=wanted.name,
        labels=wanted.labels if "labels" in wanted.model_fields_set else None,
        force=wanted.force,
        idempotency_key=idempotency_key,
    )
    return sandbox_reply(made, 201)


def _version(etag: str | None) -> int | None:
    if etag is None or etag == "*":
        return None
    number = etag.strip('"')
    if not number.isascii() or not number.isdigit() or len(number) > 18:  # noqa: PLR2004 - of 64 bits
        raise InvalidRequest("If-Match must be the ETag of the sandbox.", field="If-Match")
    return int(number)
