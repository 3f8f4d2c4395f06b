"""The network policy of persistent sandboxes."""

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.records import SandboxRecord
from atoll.http.answers import network_body, reply
from atoll.http.bodies import read
from atoll.http.describe import op
from atoll.http.front import caller, front
from atoll.http.schemas.execution import NetworkIn
from atoll.http.schemas.sandbox import NetworkNowOut
from atoll.http.v1.parameters import SandboxRef

router = APIRouter(tags=["sandboxes"])


@router.get(
    "/v1/sandboxes/{sandbox}/network", **op("get_network", gives=NetworkNowOut, fails=(404,))
)
async def get(request: Request, sandbox: SandboxRef) -> Response:
    """Read its network policy, and the addresses that it has now."""
    found = await front(request).services.networks.get(caller(request), sandbox)
    return _reply(*found)


@router.put(
    "/v1/sandboxes/{sandbox}/network",
    **op(
        "put_network",
        takes=NetworkIn,
        gives=NetworkNowOut,
        fails=(403, 404, 409, 410, 412, 424),
    ),
)
async def put(request: Request, sandbox: SandboxRef) -> Response:
    """Change its network policy, from now on, also for connections that exist."""
    here = front(request)
    policy = here.translator.network(await read(request, NetworkIn))
    return _reply(*await here.services.networks.put(caller(request), sandbox, policy))


def _reply(record: SandboxRecord, addresses: Sequence[str]) -> Response:
    return reply({**network_body(record.network), "addresses": list(addresses)})
