"""The routes: HTTP and WebSockets at `…/ports/{port}/…`, bare bytes at `…/connect/{port}`."""

from fastapi import FastAPI, WebSocket
from starlette.requests import Request
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from atoll.core.errors import AtollError
from atoll.http.errors import Refused, problem_of
from atoll.http.front import caller, front
from atoll.http.middleware.boundary import request_id
from atoll.http.ports.exchange import Exchange
from atoll.http.ports.place import ROUTE, place_of, port_of
from atoll.http.ports.relay import Relay
from atoll.http.ports.tunnel import Tunnel

SERVICE_RESTART = 1012
_GUESTS_FAULT = frozenset({502, 504})


class Exchanges:
    """Answers requests of every method, as an application of its own: bodies stay streams."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        here, who = front(request), caller(request)
        place = place_of(scope)
        if scope["method"] == "CONNECT":
            raise Refused(405, "CONNECT is no method here; there is …/connect/{port}.")
        settings = here.settings
        try:
            with here.streams.one():
                async with here.services.ports.connection(who, place.sandbox, place.port) as line:
                    exchange = Exchange(
                        line,
                        place,
                        scope,
                        answer_s=settings.port_answer_s,
                        idle_s=settings.port_idle_s,
                    )
                    await exchange.run(receive, send)
        except AtollError as error:
            problem = problem_of(error)
            if problem.status not in _GUESTS_FAULT:
                raise
            # Guests can cause these at will, so they are not written to the log.
            await problem.response(request_id(scope))(scope, receive, send)


async def relay(websocket: WebSocket) -> None:
    """A WebSocket to the program."""
    here, who = front(websocket), caller(websocket)
    place = place_of(websocket.scope)
    with here.streams.one():
        async with here.services.ports.connection(who, place.sandbox, place.port) as line:
            with here.streams.follower() as draining:
                await Relay(websocket, line, place).run(here.settings.port_answer_s)
            if draining.cancelled_caught:
                await websocket.close(SERVICE_RESTART)


async def tunnel(websocket: WebSocket) -> None:
    """Bytes to and from the program."""
    here, who = front(websocket), caller(websocket)
    parameters = websocket.path_params
    port = port_of(str(parameters["port"]))
    with here.streams.one():
        async with here.services.ports.connection(who, str(parameters["sandbox"]), port) as line:
            await websocket.accept()
            with here.streams.follower() as draining:
                await Tunnel(websocket, line).run()
            if draining.cancelled_caught:
                await websocket.close(SERVICE_RESTART)


def add_to(app: FastAPI) -> None:
    """Add the routes. They are no part of the OpenAPI document: what they answer is the guest's."""
    for path in (ROUTE, ROUTE + "/{rest:path}"):
        app.router.routes.append(Route(path, Exchanges()))
        app.router.routes.append(WebSocketRoute(path, relay))
    app.router.routes.append(WebSocketRoute("/v1/sandboxes/{sandbox}/connect/{port}", tunnel))
