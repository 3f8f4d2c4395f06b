"""The routes of sandboxes."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.records import SandboxRecord
from atoll.dialects.agentkernel import boxes
from atoll.dialects.agentkernel.document import takes
from atoll.dialects.agentkernel.errors import BadRequest
from atoll.dialects.agentkernel.notes import labelled, notes, plain
from atoll.dialects.agentkernel.schemas import CreateIn, ExtendIn, ForkIn, PatchIn, native, read
from atoll.dialects.agentkernel.shapes import info
from atoll.dialects.agentkernel.state import caller, reply, state
from atoll.dialects.agentkernel.words import check_name, moment, seconds
from atoll.http.schemas.sandbox import ChangeSandboxRequest
from atoll.service.caller import Caller
from atoll.service.sandboxes import Sandboxes

router = APIRouter()
ONE = "/sandboxes/{name}"


@router.get("/sandboxes")
async def list_sandboxes(request: Request) -> Response:
    """List them; those with all labels that are asked for."""
    labels: dict[str, str] = {}
    for pair in request.query_params.getlist("label"):
        key, colon, value = pair.partition(":")
        if not colon or not key:
            raise BadRequest("Invalid label filter. Use: label=key:value")
        labels[key] = value
    found = await boxes.everyone(state(request), caller(request), labels or None)
    return reply([info(each) for each in found])


@router.post("/sandboxes", openapi_extra=takes(CreateIn), status_code=201)
async def create_sandbox(request: Request) -> Response:
    """Make one and start it."""
    body = await read(request, CreateIn)
    return reply(info(await boxes.create(state(request), caller(request), body)), 201)


@router.get("/sandboxes/by-uuid/{wanted}")
async def get_by_uuid(request: Request, wanted: str) -> Response:
    """Look one up by its UUID."""
    return reply(info(await boxes.find_uuid(state(request), caller(request), wanted)))


@router.get(ONE)
async def get_sandbox(request: Request, name: str) -> Response:
    """Look one up."""
    return reply(info(await boxes.find(state(request), caller(request), name)))


@router.patch(ONE, openapi_extra=takes(PatchIn))
async def patch_sandbox(request: Request, name: str) -> Response:
    """Change labels, the description, and what happens to it unused; all of that, or none."""
    here, who = state(request), caller(request)
    record = await boxes.find(here, who, name)
    body = await read(request, PatchIn)
    body.refuse_not_yet()
    said = dict[str, str | None](notes(record.labels))
    if "description" in body.model_fields_set:
        said["description"] = body.description
    labels = labelled(plain(record.labels) if body.labels is None else body.labels, said)
    times: dict[str, int | None] = {}
    if "lifecycle" in body.model_fields_set:
        times = {"idle_timeout_s": None, "auto_archive_s": None, "auto_delete_s": None}
        times |= body.lifecycle.native() if body.lifecycle is not None else {}
    if labels != record.labels or times:
        change = here.front.translator.change(native(ChangeSandboxRequest, **times))
        change = replace(change, labels=labels, if_version=record.version)
        record = await here.services.sandboxes.update(who, record.id, change)
    return reply(info(record))


@router.delete(ONE)
async def delete_sandbox(request: Request, name: str) -> Response:
    """Stop and remove one."""
    return await _turned(request, name, Sandboxes.destroy, "removed")


@router.post(f"{ONE}/start")
async def start_sandbox(request: Request, name: str) -> Response:
    """Start one."""
    return await _turned(request, name, Sandboxes.start, "started")


@router.post(f"{ONE}/stop")
async def stop_sandbox(request: Request, name: str) -> Response:
    """End its processes and keep its files."""
    return await _turned(request, name, Sandboxes.stop, "stopped")


@router.post(f"{ONE}/pause")
async def pause_sandbox(request: Request, name: str) -> Response:
    """Let its processes stand still."""
    return await _turned(request, name, Sandboxes.pause, "paused")


@router.post(f"{ONE}/resume")
async def resume_sandbox(request: Request, name: str) -> Response:
    """Let them go on."""
    return await _turned(request, name, Sandboxes.resume, "resumed")


async def _turned(
    request: Request,
    name: str,
    act: Callable[[Sandboxes, Caller, str], Awaitable[SandboxRecord]],
    into: str,
) -> Response:
    here, who = state(request), caller(request)
    record = await boxes.find(here, who, name)
    await act(here.services.sandboxes, who, record.id)
    return reply(f"Sandbox {into}")


@router.post(f"{ONE}/extend", openapi_extra=takes(ExtendIn))
async def extend_sandbox(request: Request, name: str) -> Response:
    """Let it live longer: from the end that it has, or from now."""
    here, who = state(request), caller(request)
    record = await boxes.find(here, who, name)
    more = seconds((await read(request, ExtendIn)).by)
    now = here.services.clock.now()
    left = max(0.0, (record.expires_at or now) - now)
    asked = native(ChangeSandboxRequest, lifetime_s=left + more)
    change = here.front.translator.change(asked)
    changed = await here.services.sandboxes.update(who, record.id, change)
    ends = changed.expires_at
    return reply({"expires_at": None if ends is None else moment(ends)})


@router.post(f"{ONE}/fork", openapi_extra=takes(ForkIn), status_code=201)
async def fork_sandbox(request: Request, name: str) -> Response:
    """Make another with a copy of its files."""
    here, who = state(request), caller(request)
    record = await boxes.find(here, who, name)
    wanted = check_name((await read(request, ForkIn)).as_name)
    await boxes.refuse_taken(here, who, wanted)
    fork = await here.services.sandboxes.fork(who, record.id, name=wanted)
    warning = "The copy has every file of its source, with any secret among them"
    return reply({"sandbox": info(fork), "security_warning": warning}, 201)
