"""The routes of VMs and their snapshots."""

import anyio
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.dialects.rundatsheesh import peers, snapshotting
from atoll.dialects.rundatsheesh.bodies import CREATE, CREATE_BYTES, SCOPE_QUERY, query, read
from atoll.dialects.rundatsheesh.state import done, reply, state
from atoll.dialects.rundatsheesh.who import admitted
from atoll.dialects.rundatsheesh.wishes import understood

router = APIRouter(prefix="/v1")
ONE = "/vms/{vm}"


@router.post("/vms", status_code=201)
async def create_vm(request: Request) -> Response:
    """Make a VM; it runs when this answers."""
    here = state(request)
    body = await read(request, CREATE, CREATE_BYTES)
    who = await admitted(request)
    most = here.front.settings.max_limits
    wish = await understood(here.services, here.options, who, body, most)
    found = await peers.examined(here, who, wish.links)
    record = await here.machines.create(who, wish)
    try:
        await peers.furnish(here, who, record, found)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await here.services.sandboxes.destroy(who, record.id)
        raise
    here.seeds.want(who, wish.image)
    return reply(await here.machines.public(who, record), 201)


@router.get("/vms")
async def list_vms(request: Request) -> Response:
    """List them."""
    here, who = state(request), await admitted(request)
    return reply([await here.machines.public(who, each) for each in await here.machines.all(who)])


@router.get(ONE)
async def get_vm(request: Request, vm: str) -> Response:
    """Look one up."""
    here, who = state(request), await admitted(request)
    record = await here.machines.find(who, vm, briefly=True)
    return reply(await here.machines.public(who, record))


@router.delete(ONE, status_code=204)
async def delete_vm(request: Request, vm: str) -> Response:
    """End one for ever."""
    await state(request).machines.delete(await admitted(request), vm)
    return done()


@router.post(f"{ONE}/start", status_code=204)
async def start_vm(request: Request, vm: str) -> Response:
    """Start one that was stopped."""
    await state(request).machines.start(await admitted(request), vm)
    return done()


@router.post(f"{ONE}/stop", status_code=204)
async def stop_vm(request: Request, vm: str) -> Response:
    """End its processes; its files stay."""
    await state(request).machines.stop(await admitted(request), vm)
    return done()


@router.post(f"{ONE}/snapshots", status_code=201)
async def take_snapshot(request: Request, vm: str) -> Response:
    """Freeze its files, to make others from."""
    here, who = state(request), await admitted(request)
    return reply(await snapshotting.take(here, who, vm), 201)


@router.get("/snapshots")
async def list_snapshots(request: Request) -> Response:
    """List snapshots: one's own, the server's, or both."""
    here = state(request)
    scope = query(request, SCOPE_QUERY).get("scope", "user")
    return reply(await snapshotting.listed(here, await admitted(request), scope))
