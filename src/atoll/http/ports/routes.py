"""The routes: HTTP and WebSockets at `…/ports/{port}/…`, bare bytes at `…/connect/{port}`."""

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, WebSocket
from starlette.requests import Request
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from atoll.core.errors import AtollError
from atoll.core.ports import Connection
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
    place = place_of(websocket.scope)
    answer_s = front(websocket).settings.port_answer_s

    async def carry(line: Connection) -> None:
        await Relay(websocket, line, place).run(answer_s)

    await _connected(websocket, place.sandbox, place.port, carry)


async def tunnel(websocket: WebSocket) -> None:
    """Bytes to and from the program."""
    parameters = websocket.path_params

    async def carry(line: Connection) -> None:
        await websocket.accept()
        await Tunnel(websocket, line).run()

    await _connected(websocket, str(parameters["sandbox"]), port_of(parameters["port"]), carry)


async def _connected(
    websocket: WebSocket, sandbox: str, port: int, carry: Callable[[Connection], Awaitable[None]]
) -> None:
    """Carry for as long as both sides and the server are there."""
    here, who = front(websocket), caller(websocket)
    with here.streams.one():
        async with here.services.ports.connection(who, sandbox, port) as line:
            try:
                with here.streams.follower() as draining:
                    await carry(line)
                if draining.cancelled_caught:
                    await websocket.close(SERVICE_RESTART)
            except WebSocketDisconnect:
                return


def add_to(app: FastAPI) -> None:
    """Add the routes. They are no part of the OpenAPI document: what they answer is the guest's."""
    for path in (ROUTE, ROUTE + "/{rest:path}"):
        app.router.routes.append(Route(path, Exchanges()))
        app.router.routes.append(WebSocketRoute(path, relay))
    app.router.routes.append(WebSocketRoute("/v1/sandboxes/{sandbox}/connect/{port}", tunnel))
