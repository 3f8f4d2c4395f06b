"""The application: routes, layers, handlers, description."""

from importlib.metadata import version
from typing import Any, cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from atoll.http import login, pages, probes
from atoll.http.auth import Authenticator
from atoll.http.bodies import from_errors
from atoll.http.describe import describe
from atoll.http.direct import Direct
from atoll.http.errors import problem_of, refusal
from atoll.http.front import Front
from atoll.http.metrics import Metrics
from atoll.http.middleware.boundary import Boundary, request_id
from atoll.http.middleware.bounds import Bounds
from atoll.http.middleware.guard import Guard
from atoll.http.middleware.measured import Measured
from atoll.http.ports import routes as ports
from atoll.http.services import Services
from atoll.http.session import Sessions
from atoll.http.streams import Streams
from atoll.http.translate import Translator
from atoll.http.v1 import (
    archive,
    attach,
    catalog,
    commands,
    events,
    executions,
    files,
    images,
    keys,
    network,
    output,
    processes,
    sandboxes,
    snapshots,
)
from atoll.service.login import Login
from atoll.settings import Settings

_PUBLIC = frozenset(
    {"/", "/healthz", "/readyz", "/docs", "/openapi.json", "/auth/login", "/auth/logout"}
)
_ROUTES = (
    executions,
    sandboxes,
    commands,
    processes,
    output,
    attach,
    files,
    archive,
    snapshots,
    network,
    events,
    catalog,
    images,
    keys,
    login,
    probes,
    pages,
)


_TAGS = {
    "one-shots": "Code and commands in fresh sandboxes that are never used again.",
    "sandboxes": "Sandboxes that keep their files.",
    "processes": "Programs in them, in the foreground and in the background.",
    "files": "What they read and write.",
    "snapshots": "Frozen sandboxes, to begin others from.",
    "audit": "Who did what.",
    "catalog": "What there is on this server.",
    "images": "What sandboxes are made of.",
    "keys": "API keys, for admins.",
    "session": "The admin's session.",
    "probes": "For whoever watches the server.",
}


class Application(FastAPI):
    """FastAPI, describing also what routes read and write by themselves."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI 3.1 document; made once."""
        if self.openapi_schema is None:
            self.openapi_schema = describe(self)
        return self.openapi_schema


def create_app(services: Services, settings: Settings) -> Application:
    """The native API. Serves as long as the services are open; opens nothing by itself."""
    front = _front(services, settings)
    app = Application(
        **_about(),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(Measured, metrics=front.metrics),
            Middleware(Boundary),
            Middleware(Bounds, settings=settings, upload=is_upload),
            Middleware(Guard, authenticator=front.authenticator, public=is_public),
            Middleware(Direct, routes=executions.hot()),
        ],
        exception_handlers={
            HTTPException: _refused,
            RequestValidationError: _invalid,
        },
    )
    app.state.front = front
    _add_routes(app)
    app.mount(pages.ASSETS, pages.assets())
    return app


def document() -> dict[str, Any]:
    """The OpenAPI document of any server of this version, without a server."""
    app = Application(**_about())
    _add_routes(app)
    return app.openapi()


def _about() -> dict[str, Any]:
    return {
        "title": "Atoll",
        "version": version("atoll"),
        "summary": "Runs untrusted code in isolated sandboxes.",
        "openapi_tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
    }


def _add_routes(app: Application) -> None:
    for module in _ROUTES:
        app.include_router(module.router)
    ports.add_to(app)


def _front(services: Services, settings: Settings) -> Front:
    metrics = Metrics()
    metrics.watch("atoll_pool", services.pool.stats)
    metrics.watch("atoll_audit", lambda: {"dropped": services.audit.dropped})
    if services.audit.journal is not None:
        metrics.watch("atoll_audit_file", services.audit.journal.stats)
    metrics.watch("atoll_network", lambda: {"denied": services.networks.denied})
    sessions = Sessions(settings, services.clock)
    password = settings.admin_password_hash
    return Front(
        services=services,
        settings=settings,
        authenticator=Authenticator(keys=services.keys, sessions=sessions, settings=settings),
        sessions=sessions,
        login=Login(None if password is None else password.get_secret_value()),
        metrics=metrics,
        streams=Streams(settings.max_streams, metrics.streams),
        translator=Translator(settings, services.languages),
    )


def is_public(path: str) -> bool:
    """Whether a path needs no credential."""
    return path in _PUBLIC or path.startswith("/docs/")


def is_upload(scope: Scope) -> bool:
    """Whether a body may be as large as a file."""
    path: str = scope["path"]
    if not path.startswith("/v1/sandboxes/"):
        return False
    return scope["method"] == "PUT" or path.split("/", 5)[4:5] == ["ports"]


async def _refused(request: Request, error: Exception) -> Response:
    """404, 405 and their like, which the framework finds."""
    found = cast("HTTPException", error)
    detail = {
        404: f"There is nothing at {request.url.path!r}.",
        405: f"{request.method} is no method of {request.url.path!r}.",
    }.get(found.status_code, found.detail)
    problem = refusal(found.status_code, detail, found.headers)
    return problem.response(request_id(request.scope))


async def _invalid(request: Request, error: Exception) -> Response:
    found = cast("RequestValidationError", error)
    return problem_of(from_errors(found.errors())).response(request_id(request.scope))
