"""Who asks is settled before anything else looks at the request."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from atoll.http.auth import CALLER, Authenticator


class Guard:
    """Puts the `Caller` into the scope. All paths are guarded but those that `public` names."""

    def __init__(
        self, app: ASGIApp, *, authenticator: Authenticator, public: Callable[[str], bool]
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and not self._public(scope["path"]):
            scope[CALLER] = await self._authenticator.caller(scope)
        await self._app(scope, receive, send)
