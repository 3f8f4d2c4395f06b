"""The routes of snapshots."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import NotFound
from atoll.core.records import SnapshotRecord
from atoll.dialects.agentkernel import boxes
from atoll.dialects.agentkernel.document import takes
from atoll.dialects.agentkernel.notes import IMAGE, labelled
from atoll.dialects.agentkernel.schemas import (
    RestoreIn,
    TakeIn,
    native,
    read,
    read_optional,
)
from atoll.dialects.agentkernel.shapes import (
    SANDBOX,
    image_of,
    info,
    snapshot,
    snapshot_name,
)
from atoll.dialects.agentkernel.state import State, caller, reply, state
from atoll.dialects.agentkernel.words import LONGEST_NAME, check_name, name_of
from atoll.http.schemas.sandbox import CreateSandboxRequest
from atoll.service.caller import Caller

router = APIRouter()
ONE = "/snapshots/{name}"
PAGE = 100
_SUFFIX = "-restored"
_TIME = 11


@router.get("/snapshots")
async def list_snapshots(request: Request) -> Response:
    """List them."""
    here, who = state(request), caller(request)
    found: list[SnapshotRecord] = []
    after: str | None = None
    while True:
        page = await here.services.snapshots.list(who, after=after, limit=PAGE)
        found += page
        if len(page) < PAGE:
            return reply([snapshot(each) for each in found])
        after = page[-1].id


@router.post("/snapshots", openapi_extra=takes(TakeIn), status_code=201)
async def take_snapshot(request: Request) -> Response:
    """Freeze a sandbox's files. Without a name it is called after the sandbox and the time."""
    here, who = state(request), caller(request)
    body = await read(request, TakeIn)
    record = await boxes.find(here, who, body.sandbox)
    name = body.name
    if name is None:
        stamp = f"{int(here.services.clock.now() * 1000):x}"[-_TIME:]
        name = f"{body.sandbox[: LONGEST_NAME - _TIME - 1].rstrip('-_')}-{stamp}"
    check_name(name, "snapshot")
    taken = await here.services.snapshots.take(
        who,
        record.id,
        name=name,
        labels=labelled({}, {IMAGE: image_of(record)}) | {SANDBOX: name_of(record)},
    )
    return reply(snapshot(taken), 201)


@router.get(ONE)
async def get_snapshot(request: Request, name: str) -> Response:
    """Look one up."""
    return reply(snapshot(await _find(state(request), caller(request), name)))


@router.delete(ONE)
async def delete_snapshot(request: Request, name: str) -> Response:
    """Forget one; sandboxes made from it stay."""
    here, who = state(request), caller(request)
    found = await _find(here, who, name)
    await here.services.snapshots.drop(who, found.id)
    return reply("Snapshot deleted")


@router.post(f"{ONE}/restore", openapi_extra=takes(RestoreIn, required=False))
async def restore_snapshot(request: Request, name: str) -> Response:
    """Make a sandbox that begins with its files; it is stopped until it is used."""
    here, who = state(request), caller(request)
    found = await _find(here, who, name)
    wanted = (await read_optional(request, RestoreIn)).as_name
    if wanted is None:
        source = found.labels.get(SANDBOX, found.sandbox_id)
        wanted = f"{source[: LONGEST_NAME - len(_SUFFIX)].rstrip('-_')}{_SUFFIX}"
    check_name(wanted)
    await boxes.refuse_taken(here, who, wanted)
    labels = labelled({}, {IMAGE: image_of(found)})
    asked = native(CreateSandboxRequest, name=wanted, base=found.id, labels=labels)
    made = await here.services.sandboxes.create(here.front.translator.create(asked), who)
    stopped = await here.services.sandboxes.stop(who, made.id)
    body = info(stopped)
    return reply({**body, "sandbox": body["name"], "from_snapshot": snapshot_name(found)})


async def _find(here: State, who: Caller, name: str) -> SnapshotRecord:
    try:
        return await here.services.snapshots.get(who, name)
    except NotFound:
        raise NotFound("snapshot", name, "Snapshot not found") from None
