"""The routes of the admin: overview, activity, webhooks, keys."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.dialects.rundatsheesh import snapshotting
from atoll.dialects.rundatsheesh.activity import meta_of
from atoll.dialects.rundatsheesh.bodies import (
    API_KEY,
    CREATE_BYTES,
    LIMIT_QUERY,
    WEBHOOK,
    WEBHOOK_CHANGE,
    query,
    read,
)
from atoll.dialects.rundatsheesh.errors import SheeshError, bad
from atoll.dialects.rundatsheesh.host import Host
from atoll.dialects.rundatsheesh.machines import RUNNING, state_of
from atoll.dialects.rundatsheesh.state import State, done, reply, state
from atoll.dialects.rundatsheesh.who import admitted, logged_in
from atoll.http.sse import EventStream, event

router = APIRouter(prefix="/v1/admin")
_ACTIVITY = 50


@router.get("/overview")
async def overview(request: Request) -> Response:
    """What there is, and what it takes of the machine."""
    here, who = state(request), await admitted(request)
    running = [each for each in await here.machines.all(who) if state_of(each) == RUNNING]
    users = await snapshotting.listed(here, who, "user")
    seeds = await snapshotting.listed(here, who, "internal")
    host = here.host
    percent = await to_thread.run_sync(host.cpu_percent)
    return reply(
        {
            "counts": {
                "activeVms": len(running),
                "snapshots": len(users),
                "templates": len(seeds),
            },
            "cpu": {
                "usagePct": percent,
                "capacityCores": host.cores(),
                "usedCores": sum(int(each.limits.cpus) for each in running),
            },
            "memory": await to_thread.run_sync(Host.memory, host),
            "storage": await to_thread.run_sync(Host.storage, host),
        }
    )


@router.get("/activity")
async def activity(request: Request) -> Response:
    """What has happened, the newest first."""
    limit = query(request, LIMIT_QUERY).get("limit", _ACTIVITY)
    await admitted(request)
    return reply(await state(request).activity.list(limit))


@router.get("/events")
async def events(request: Request) -> Response:
    """What happens from now on."""
    logged_in(request)
    here = state(request)
    return EventStream(here.front, _events(here), follows=True)


async def _events(here: State) -> AsyncGenerator[bytes, None]:
    yield b": connected\n\n"
    async with aclosing(here.activity.follow()) as found:
        async for each in found:
            if each is None:
                yield b": ping\n\n"
            else:
                yield event("activity", {**each, "meta": meta_of(each)}, each["id"])


@router.get("/webhooks")
async def list_webhooks(request: Request) -> Response:
    """List them."""
    logged_in(request)
    return reply(await state(request).webhooks.list())


@router.post("/webhooks", status_code=201)
async def create_webhook(request: Request) -> Response:
    """Have events posted somewhere."""
    body = await read(request, WEBHOOK, CREATE_BYTES)
    logged_in(request)
    return reply(await state(request).webhooks.create(body), 201)


@router.patch("/webhooks/{webhook}")
async def change_webhook(request: Request, webhook: str) -> Response:
    """Change what is given."""
    body = await read(request, WEBHOOK_CHANGE, CREATE_BYTES)
    logged_in(request)
    found = await state(request).webhooks.change(webhook, body)
    if found is None:
        raise SheeshError(404, "Webhook not found")
    return reply(found)


@router.delete("/webhooks/{webhook}", status_code=204)
async def delete_webhook(request: Request, webhook: str) -> Response:
    """Forget one."""
    logged_in(request)
    if not await state(request).webhooks.drop(webhook):
        raise SheeshError(404, "Webhook not found")
    return done()


@router.get("/api-keys")
async def list_keys(request: Request) -> Response:
    """List keys, the revoked ones too."""
    logged_in(request)
    return reply(await state(request).keys.list())


@router.post("/api-keys", status_code=201)
async def create_key(request: Request) -> Response:
    """Make a key, which is told here and never again."""
    body = await read(request, API_KEY, CREATE_BYTES)
    logged_in(request)
    here = state(request)
    until = _moment(body["expiresAt"]) if body.get("expiresAt") else None
    if until is not None and until <= here.services.clock.now():
        raise bad("expiresAt must be in the future")
    made = await here.keys.create(body["name"], until)
    await here.activity.note(
        "apikey.created", f"API key created: {body['name']}", entity=("apiKey", made["id"])
    )
    return reply(made, 201)


@router.post("/api-keys/{key}/revoke")
async def revoke_key(request: Request, key: str) -> Response:
    """Refuse a key from now on."""
    logged_in(request)
    here = state(request)
    found = await here.keys.revoke(key)
    if found is None:
        raise SheeshError(404, "API key not found")
    message = f"API key revoked: {found['name']}"
    await here.activity.note("apikey.revoked", message, entity=("apiKey", key))
    return reply(found)


def _moment(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise bad("expiresAt must be a date-time") from None
