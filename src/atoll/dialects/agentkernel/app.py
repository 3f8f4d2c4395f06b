"""The application: its layers, and how a request goes through them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from secrets import token_hex

import anyio.to_thread
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from atoll.core.errors import AtollError, Busy, InvalidRequest, Unauthenticated
from atoll.dialects.agentkernel import (
    absent,
    commands,
    files,
    logs,
    meta,
    runs,
    sandboxes,
    snapshots,
)
from atoll.dialects.agentkernel.document import Application
from atoll.dialects.agentkernel.errors import (
    INTERNAL,
    AgentKernelError,
    CommandFailed,
    answer,
    refused,
    status_of,
    text_of,
    unauthorized,
)
from atoll.dialects.agentkernel.options import Options
from atoll.dialects.agentkernel.state import State
from atoll.http.auth import CALLER
from atoll.http.dialect import own_path
from atoll.http.errors import Refused, problem_of
from atoll.http.front import Front
from atoll.http.middleware.boundary import REQUEST_ID
from atoll.http.middleware.bounds import Bounds
from atoll.http.middleware.tracked import Headers
from atoll.http.middleware.translated import Translated

# `absent` has what no other has, so it comes last.
_ROUTES = (meta, runs, sandboxes, commands, files, logs, snapshots, absent)


@asynccontextmanager
async def open_app(front: Front, options: Options) -> AsyncGenerator[ASGIApp, None]:
    """The application. It holds nothing: all that lasts is the service's."""
    yield application(
        State(
            front=front,
            options=options,
            started_at=front.services.clock.monotonic(),
            version=await anyio.to_thread.run_sync(version, "atoll"),
            profiles=tuple(each.name for each in front.settings.profile_set),
        )
    )


def application(here: State) -> ASGIApp:
    """From the outside in: errors, bounds, who asks, routes."""
    settings = here.front.settings

    def refuse(error: AtollError | None, scope: Scope) -> Response:
        if error is None:
            return answer(INTERNAL, "Internal error")
        if isinstance(error, Refused):
            status, text = refused(error, settings.max_body_bytes)
            return answer(status, text, headers={"connection": "close"} if error.close else {})
        if isinstance(error, Unauthenticated):
            return answer(401, unauthorized(scope), headers=problem_of(error).headers)
        more = error.more if isinstance(error, AgentKernelError | CommandFailed) else {}
        headers = problem_of(error).headers if isinstance(error, Busy) else None
        status = status_of(error, scope, here.options.statuses)
        return answer(status, text_of(error), more, headers)

    def headers(scope: Scope, given: Headers) -> Headers:
        _ = given
        return [
            (b"x-request-id", str(scope[REQUEST_ID]).encode()),
            (b"x-content-type-options", b"nosniff"),
        ]

    app = Application(
        title="agentkernel API, spoken by Atoll",
        version=here.version,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(
                Translated,
                dialect="agentkernel",
                refuse=refuse,
                name=lambda: token_hex(8),
                headers=headers,
            ),
            Middleware(Bounds, settings=settings, upload=lambda _: False),
            Middleware(Door, here=here),
        ],
        exception_handlers={RequestValidationError: _invalid, 404: _unknown, 405: _unknown},
    )
    app.state.agentkernel = here
    for module in _ROUTES:
        app.include_router(module.router)
    return app


@dataclass(frozen=True, slots=True)
class Door:
    """Settles who asks, as the native API does; the health needs nobody."""

    app: ASGIApp
    here: State

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and own_path(scope) not in meta.PUBLIC:
            scope[CALLER] = await self.here.front.authenticator.caller(scope)
        await self.app(scope, receive, send)


async def _unknown(_: Request, __: Exception) -> Response:
    raise Refused(404, "Not found")


async def _invalid(_: Request, error: Exception) -> Response:
    found = error.errors()[0] if isinstance(error, RequestValidationError) else {"msg": "invalid"}
    raise InvalidRequest(f"{found['msg']}.") from None
