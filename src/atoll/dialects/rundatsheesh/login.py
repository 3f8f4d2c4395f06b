"""The admin's session."""

import hmac

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import Forbidden
from atoll.dialects.rundatsheesh.bodies import LOGIN, LOGIN_BYTES, read
from atoll.dialects.rundatsheesh.errors import SheeshError, unauthorized
from atoll.dialects.rundatsheesh.state import State, reply, state
from atoll.dialects.rundatsheesh.who import COOKIE, logged_in

router = APIRouter(prefix="/auth")
_ANY = "admin"


@router.post("/login")
async def login(request: Request) -> Response:
    """Begin a session; its cookie then stands for a key."""
    here = state(request)
    body = await read(request, LOGIN, LOGIN_BYTES)
    good = await _right(here, body["email"], body["password"])
    who = here.services.keys.administrator()
    address = request.client.host if request.client else "-"
    here.services.audit.record("login", who, "ok" if good else "unauthenticated", peer=address)
    if not good:
        raise SheeshError(401, "Invalid credentials")
    cookie, _ = here.front.sessions.begin()
    response = reply({"email": body["email"]})
    response.headers["cache-control"] = "no-store"
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=int(here.front.settings.session_hours * 3600),
        path="/",
        secure=_secure(request),
        httponly=True,
        samesite="lax",
    )
    return response


@router.post("/logout")
async def logout(request: Request) -> Response:
    """End the session, here and in the browser."""
    response = reply({"ok": True})
    cookie = request.cookies.get(COOKIE)
    state(request).front.sessions.end(cookie, response, secure=_secure(request))
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
    return response


@router.get("/me")
async def me(request: Request) -> Response:
    """Tell who has logged in."""
    if COOKIE not in request.cookies:
        raise unauthorized()
    logged_in(request)
    return reply({"email": state(request).options.admin_email or _ANY})


async def _right(here: State, email: str, password: str) -> bool:
    wanted = here.options.admin_email
    known = not wanted or hmac.compare_digest(wanted.lower().encode(), email.lower().encode())
    own = here.options.admin_password
    if own is not None:
        given = password.encode("utf-8", "replace")
        return hmac.compare_digest(own.get_secret_value().encode(), given) and known
    try:
        return await here.front.login.verify(password) and known
    except Forbidden:
        return False


def _secure(request: Request) -> bool:
    forwarded = request.headers.get("x-forwarded-proto", "").lower()
    return request.url.scheme == "https" or forwarded == "https"
