"""The application: its layers, and how a request goes through them."""

import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from time import perf_counter

import anyio.to_thread
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from atoll.core.errors import AtollError, InvalidRequest, Unauthenticated
from atoll.core.model import MIB
from atoll.dialects.wasmrun import probes, routes
from atoll.dialects.wasmrun.errors import INTERNAL, WasmrunError, answer, refused, told
from atoll.dialects.wasmrun.execute import Executor
from atoll.dialects.wasmrun.metrics import Metrics
from atoll.dialects.wasmrun.npm.install import installer
from atoll.dialects.wasmrun.options import Options
from atoll.dialects.wasmrun.sessions import Sessions
from atoll.dialects.wasmrun.state import TENANT, State
from atoll.dialects.wasmrun.tenants import Tenants
from atoll.http.auth import CALLER
from atoll.http.dialect import own_path
from atoll.http.errors import Refused
from atoll.http.front import Front
from atoll.http.middleware.boundary import REQUEST_ID
from atoll.http.middleware.bounds import Bounds
from atoll.http.middleware.tracked import Headers, Tracked
from atoll.http.middleware.translated import Translated

API = "/api/v1"
UNLIMITED_BODY_MB = 1024
SEEN = "wasmrun.seen"
_UNAVAILABLE = 503


@asynccontextmanager
async def open_app(front: Front, options: Options) -> AsyncGenerator[ASGIApp, None]:
    """The application; its sessions are swept, and its connections kept, within the block."""
    tenants = None if options.auth is None else Tenants(options.auth, front.services.clock)
    if tenants is not None:
        await tenants.load()
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        sessions = await stack.enter_async_context(
            Sessions(front.services, options, front.settings.max_limits)
        )
        npm = await stack.enter_async_context(installer(options, front.settings.data_dir))
        yield application(
            State(
                front=front,
                options=options,
                sessions=sessions,
                executor=Executor(
                    services=front.services,
                    settings=front.settings,
                    options=options,
                    metrics=metrics,
                    installer=npm,
                ),
                metrics=metrics,
                tenants=tenants,
                started_at=front.services.clock.monotonic(),
                version=await anyio.to_thread.run_sync(version, "atoll"),
            )
        )


def application(here: State) -> ASGIApp:
    """From the outside in: preflight and prefix, errors, bounds, who asks, routes."""
    body_bytes = (here.options.max_body_mb or UNLIMITED_BODY_MB) * MIB
    settings = here.front.settings.model_copy(update={"max_body_bytes": body_bytes})
    origin = b"*" if here.options.allow_cors else b"http://127.0.0.1"

    def refuse(error: AtollError | None, scope: Scope) -> Response:
        if error is None:
            return answer(INTERNAL, "Internal error: the server failed")
        here.metrics.refuse(_rejected(error))
        closing: dict[str, str] = {}
        if isinstance(error, Refused):
            status, text = refused(error, scope, body_bytes)
            closing = {"connection": "close"} if error.close else {}
        else:
            status, text = told(error)
        return answer(status, text, closing)

    def headers(scope: Scope, given: Headers) -> Headers:
        if any(
            name == b"content-type" and value.startswith(b"text/event-stream")
            for name, value in given
        ):
            return []
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-methods", b"GET, POST, DELETE, OPTIONS"),
            (b"access-control-allow-headers", b"Content-Type, Authorization"),
            (b"x-request-id", str(scope[REQUEST_ID]).encode()),
            (b"x-content-type-options", b"nosniff"),
        ]

    app = FastAPI(
        title="wasmrun agent API, spoken by Atoll",
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(
                Translated,
                dialect="wasmrun",
                refuse=refuse,
                name=lambda: secrets.token_hex(8),
                headers=headers,
            ),
            Middleware(Outside, here=here),
            Middleware(Bounds, settings=settings, upload=lambda _: False),
            Middleware(Door, here=here),
        ],
        exception_handlers={RequestValidationError: _invalid, 404: _unknown, 405: _unknown},
    )
    app.state.wasmrun = here
    app.include_router(routes.router)
    app.include_router(probes.router)
    return Logged(app, here)


@dataclass(frozen=True, slots=True)
class Outside:
    """Preflights, the drain, and the prefix that may be left out."""

    app: ASGIApp
    here: State

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = own_path(scope)
        if scope["method"] == "OPTIONS":
            await Response(status_code=204)(scope, receive, send)
            return
        if path == API or path.startswith(f"{API}/"):
            path = path[len(API) :] or "/"
        if self.here.front.streams.draining and path not in probes.PUBLIC:
            await Response(status_code=_UNAVAILABLE)(scope, receive, send)
            return
        self.here.metrics.requests += 1
        try:
            inner = {**scope, "path": scope.get("root_path", "") + path}
            await self.app(inner, receive, send)
        finally:
            self.here.metrics.requests -= 1


@dataclass(frozen=True, slots=True)
class Door:
    """Settles who asks: by the tenants file, else as the native API does."""

    app: ASGIApp
    here: State

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and own_path(scope) not in probes.PUBLIC:
            tenants = self.here.tenants
            if tenants is None:
                scope[CALLER] = await self.here.front.authenticator.caller(scope)
            else:
                given = [v for k, v in scope["headers"] if k == b"authorization"]
                word = given[0].decode("latin-1") if len(given) == 1 else None
                scope[CALLER], scope[TENANT] = await tenants.authenticate(word)
            if SEEN in scope:
                scope[SEEN]["tenant"] = scope[CALLER].tenant
        await self.app(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Logged:
    """The access log, where it is wanted."""

    app: ASGIApp
    here: State

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.here.options.verbose or scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        tracked, begun = Tracked(send), perf_counter()
        scope[SEEN] = seen = {"tenant": "-"}
        try:
            await self.app(scope, receive, tracked)
        finally:
            structlog.get_logger("atoll.wasmrun").info(
                "request",
                id=scope.get(REQUEST_ID, "-"),
                method=scope["method"],
                path=own_path(scope),
                status=tracked.status,
                dur_ms=round((perf_counter() - begun) * 1000),
                tenant=seen["tenant"],
            )


def _rejected(error: AtollError) -> str | None:
    if isinstance(error, WasmrunError):
        return error.rejected
    if isinstance(error, Unauthenticated):
        return "unauthorized"
    return "payload" if isinstance(error, Refused) and error.status == 413 else None  # noqa: PLR2004


async def _unknown(_: Request, __: Exception) -> Response:
    raise Refused(404, "There is no such endpoint.")


async def _invalid(_: Request, error: Exception) -> Response:
    found = error.errors()[0] if isinstance(error, RequestValidationError) else {"msg": "invalid"}
    raise InvalidRequest(f"{found['msg']}.") from None
