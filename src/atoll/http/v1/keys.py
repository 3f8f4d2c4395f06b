"""API keys. The service lets only admins at them."""

from typing import Annotated

from fastapi import APIRouter, Path
from starlette.requests import Request
from starlette.responses import Response

from atoll.http.answers import key_body, reply
from atoll.http.bodies import read
from atoll.http.describe import op
from atoll.http.front import caller, front
from atoll.http.schemas.keys import CreateKeyRequest, KeyList, NewKeyOut
from atoll.service.keys import KeyQuotas

router = APIRouter(tags=["keys"])


@router.post("/v1/keys", **op("create_key", takes=CreateKeyRequest, gives=NewKeyOut, status=201))
async def create(request: Request) -> Response:
    """Make a key. It is shown now and never again."""
    services, who = front(request).services, caller(request)
    wanted = await read(request, CreateKeyRequest)
    lasts_s = wanted.expires_in_s
    record, key = await services.keys.create(
        who,
        name=wanted.name,
        tenant=wanted.tenant or who.tenant,
        admin=wanted.admin,
        expires_at=None if lasts_s is None else services.clock.now() + lasts_s,
        quotas=KeyQuotas(wanted.max_sandboxes, wanted.max_concurrent),
    )
    return reply({**key_body(record), "key": key}, 201, {"cache-control": "no-store"})


@router.get("/v1/keys", **op("list_keys", gives=KeyList))
async def list_all(request: Request) -> Response:
    """List all keys, without the keys themselves."""
    found = await front(request).services.keys.list(caller(request))
    return reply({"items": [key_body(each) for each in found]})


@router.delete("/v1/keys/{key_id}", **op("revoke_key", status=204, fails=(404,)))
async def revoke(
    request: Request, key_id: Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
) -> Response:
    """Revoke a key; from now on it is refused."""
    await front(request).services.keys.revoke(caller(request), key_id)
    return Response(status_code=204)
