"""The admin's session: log in with the password, log out."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import Unauthenticated
from atoll.http.answers import reply
from atoll.http.bodies import read
from atoll.http.describe import op
from atoll.http.front import front
from atoll.http.schemas.keys import LoginOut, LoginRequest
from atoll.http.session import COOKIE

router = APIRouter(prefix="/auth", tags=["session"])


@router.post("/login", **op("login", takes=LoginRequest, gives=LoginOut, fails=(429,)))
async def login(request: Request) -> Response:
    """Begin a session of the admin; its cookie then stands for a key."""
    here = front(request)
    wanted = await read(request, LoginRequest)
    admin = here.services.keys.administrator()
    good = await here.login.verify(wanted.password.get_secret_value())
    address = request.client.host if request.client else "-"
    here.services.audit.record("login", admin, "ok" if good else "unauthenticated", peer=address)
    if not good:
        raise Unauthenticated("That is not the password.")
    cookie, until = here.sessions.begin()
    body = {"actor": admin.actor, "expires_at": until}
    response = reply(body, headers={"cache-control": "no-store"})
    here.sessions.give(cookie, response, secure=_secure(request))
    return response


@router.post("/logout", **op("logout", status=204))
async def logout(request: Request) -> Response:
    """End the session, here and in the browser."""
    response = Response(status_code=204)
    cookie = request.cookies.get(COOKIE)
    front(request).sessions.end(cookie, response, secure=_secure(request))
    return response


def _secure(request: Request) -> bool:
    """Whether the client came by TLS, be it only as far as a proxy."""
    forwarded = request.headers.get("x-forwarded-proto", "").lower()
    return request.url.scheme == "https" or forwarded == "https"
