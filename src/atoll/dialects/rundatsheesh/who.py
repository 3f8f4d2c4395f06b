"""Who asks: the operator's key, a key of the database, or somebody who has logged in.

run-dat-sheesh checks bodies before keys, so each route asks here once it has read its own.
"""

import hmac
from dataclasses import replace

from starlette.requests import Request

from atoll.core.errors import AtollError
from atoll.dialects.rundatsheesh.apikeys import MARK
from atoll.dialects.rundatsheesh.errors import unauthorized
from atoll.dialects.rundatsheesh.state import State, state
from atoll.service.caller import Caller

COOKIE = "rds_session"
_NATIVE = "atoll_"


async def admitted(request: Request) -> Caller:
    """The caller. 401 `Unauthorized`."""
    here = state(request)
    key = request.headers.get("x-api-key", "").strip()
    if key:
        return await _by_key(here, request, key)
    if COOKIE in request.cookies:
        return logged_in(request)
    if here.options.api_key is None:
        return await _native(here, request)
    raise unauthorized()


def logged_in(request: Request) -> Caller:
    """The admin, by their cookie and nothing else. 401."""
    here = state(request)
    cookie = request.cookies.get(COOKIE)
    if cookie is None:
        raise unauthorized()
    try:
        here.front.sessions.check(cookie)
    except AtollError:
        raise unauthorized() from None
    return _named(here, "admin")


async def _by_key(here: State, request: Request, key: str) -> Caller:
    own = here.options.api_key
    if own is not None and hmac.compare_digest(own.get_secret_value().encode(), key.encode()):
        return _named(here, "run-dat-sheesh")
    if key.startswith(MARK):
        name = await here.keys.authenticate(key)
        if name is None:
            raise unauthorized()
        return _named(here, name)
    if key.startswith(_NATIVE):
        return await _native(here, request)
    raise unauthorized()


async def _native(here: State, request: Request) -> Caller:
    try:
        return await here.front.authenticator.caller(request.scope)
    except AtollError:
        raise unauthorized() from None


def _named(here: State, actor: str) -> Caller:
    """All of these are one tenant: run-dat-sheesh has no others."""
    return replace(here.services.keys.administrator(), actor=actor)
