"""The application: its layers, and how a request goes through them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from itertools import count

import anyio.to_thread
from fastapi.exceptions import RequestValidationError
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from atoll.core.errors import AtollError, InvalidRequest
from atoll.dialects.rundatsheesh import (
    admin,
    archives,
    images,
    login,
    logs,
    pages,
    peers,
    running,
    vms,
)
from atoll.dialects.rundatsheesh.activity import Activity
from atoll.dialects.rundatsheesh.apikeys import ApiKeys
from atoll.dialects.rundatsheesh.bridges import Bridges
from atoll.dialects.rundatsheesh.document import Application
from atoll.dialects.rundatsheesh.errors import told
from atoll.dialects.rundatsheesh.host import Host
from atoll.dialects.rundatsheesh.imagerows import BINARY_BYTES, ImageRows
from atoll.dialects.rundatsheesh.machines import Machines
from atoll.dialects.rundatsheesh.notebook import Notebook
from atoll.dialects.rundatsheesh.options import Options
from atoll.dialects.rundatsheesh.rates import Rates
from atoll.dialects.rundatsheesh.runs import Runs
from atoll.dialects.rundatsheesh.seeds import Seeds
from atoll.dialects.rundatsheesh.state import State
from atoll.dialects.rundatsheesh.webhooks import Webhooks
from atoll.http.dialect import own_path
from atoll.http.errors import Refused
from atoll.http.front import Front
from atoll.http.middleware.boundary import REQUEST_ID
from atoll.http.middleware.bounds import Bounds
from atoll.http.middleware.tracked import Headers
from atoll.http.middleware.translated import Translated
from atoll.http.pages import ASSETS, assets

_ROUTES = (vms, running, archives, logs, images, peers, admin, login, pages)


@asynccontextmanager
async def open_app(front: Front, options: Options) -> AsyncGenerator[ASGIApp, None]:
    """The application; webhooks are posted to, and seeds made, within the block."""
    services, settings = front.services, front.settings
    store, clock = services.store, services.clock
    notebook = Notebook(store)
    activity, runs = Activity(store, clock, notebook), Runs(store, clock, notebook)
    rows = ImageRows(store, clock, settings.data_dir / "run-dat-sheesh" / "images")
    machines = Machines(
        services=services,
        settings=settings,
        options=options,
        images=rows,
        runs=runs,
        activity=activity,
    )
    bridges = Bridges(services)
    async with notebook, Webhooks(store, clock, activity) as webhooks:
        here = State(
            front=front,
            options=options,
            machines=machines,
            runs=runs,
            activity=activity,
            webhooks=webhooks,
            seeds=Seeds(services, rows, activity),
            bridges=bridges,
            keys=ApiKeys(store, clock),
            images=rows,
            rates=Rates(clock),
            host=Host(settings.data_dir),
            console=await anyio.to_thread.run_sync(pages.text),
            version=await anyio.to_thread.run_sync(version, "atoll"),
        )
        bridges.serve(partial(peers.invoke, here))
        yield await anyio.to_thread.run_sync(application, here)


def application(here: State) -> ASGIApp:
    """From the outside in: errors, rates, bounds, routes. Each route asks who it is. Blocks."""
    largest = BINARY_BYTES + 1
    settings = here.front.settings.model_copy(
        update={"max_upload_bytes": largest, "max_body_bytes": largest}
    )
    numbers = count(1)

    def refuse(error: AtollError | None, scope: Scope) -> Response:
        return told(error, str(scope[REQUEST_ID]))

    def headers(scope: Scope, given: Headers) -> Headers:
        _ = given
        return [
            (b"x-request-id", str(scope[REQUEST_ID]).encode()),
            (b"x-content-type-options", b"nosniff"),
        ]

    app = Application(
        title="run-dat-sheesh API, spoken by Atoll",
        version=here.version,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        middleware=[
            Middleware(
                Translated,
                dialect="run-dat-sheesh",
                refuse=refuse,
                name=lambda: f"req-{next(numbers):x}",
                headers=headers,
            ),
            Middleware(Counted, here=here),
            Middleware(Bounds, settings=settings, upload=lambda _: True),
        ],
        exception_handlers={RequestValidationError: _invalid, 404: _unknown, 405: _unknown},
    )
    app.state.rundatsheesh = here
    for module in _ROUTES:
        app.include_router(module.router)
    app.mount(ASSETS, assets())
    return app


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts the requests of each address to the API."""

    app: ASGIApp
    here: State

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self.here.options.rate_limits:
            path = own_path(scope)
            if not path.startswith(ASSETS):
                client = scope.get("client")
                self.here.rates.count(client[0] if client else "-", scope["method"], path)
        await self.app(scope, receive, send)


async def _unknown(_: Request, __: Exception) -> Response:
    raise Refused(404, "Not Found")


async def _invalid(_: Request, error: Exception) -> Response:
    found = error.errors()[0] if isinstance(error, RequestValidationError) else {"msg": "invalid"}
    raise InvalidRequest(f"{found['msg']}.") from None
