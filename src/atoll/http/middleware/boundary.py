"""The outermost layer: names each request, and lets nothing escape but a problem document."""

import re
import secrets
from typing import cast

import anyio
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from atoll.core.errors import AtollError, BackendFault
from atoll.http.errors import INTERNAL, Problem, problem_of, refusal
from atoll.http.middleware.tracked import Tracked

REQUEST_ID = "atoll.request_id"
_GOOD_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_SERVER_ERROR = 500
REQUEST_TIMEOUT = 408
LINGER_S = 2.0
LINGER_BYTES = 64 * 1024 * 1024


def request_id(scope: Scope) -> str:
    """The id that the boundary gave."""
    return str(scope.get(REQUEST_ID, "-"))


def single(error: BaseException) -> BaseException:
    """The one error in a group of one; task groups wrap what happens in them."""
    inner: BaseException = error
    while isinstance(inner, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", inner)
        if len(group.exceptions) != 1:
            return group
        inner = group.exceptions[0]
    return inner


class Boundary:
    """Takes a caller's `X-Request-Id` when it is a plain word, else makes one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log: FilteringBoundLogger = structlog.get_logger("atoll.http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        name = scope[REQUEST_ID] = _given_id(scope) or f"req_{secrets.token_hex(8)}"
        headers = [(b"x-request-id", name.encode()), (b"x-content-type-options", b"nosniff")]
        tracked = Tracked(send, lambda _: headers)
        try:
            await self._app(scope, receive, tracked)
        except ClientDisconnect:
            return
        except Cut:
            raise
        except Exception as error:  # noqa: BLE001 - the request boundary
            problem = self._judge(single(error), scope)
            if not tracked.begun:
                await answer(problem, scope, receive, tracked)
            elif scope["type"] == "http":
                raise Cut from None

    def _judge(self, error: BaseException, scope: Scope) -> Problem:
        if isinstance(error, HTTPException):
            return refusal(error.status_code, error.detail, error.headers)
        if isinstance(error, AtollError):
            problem = problem_of(error)
            if problem.status >= _SERVER_ERROR:
                self._note("backend fault", error, scope)
            return problem
        self._note("request failed", error, scope)
        return INTERNAL

    def _note(self, event: str, error: BaseException, scope: Scope) -> None:
        sandbox = error.sandbox_id if isinstance(error, BackendFault) else None
        self._log.error(
            event,
            request_id=request_id(scope),
            method=scope.get("method", "WEBSOCKET"),
            path=scope["path"],
            sandbox_id=sandbox or scope.get("path_params", {}).get("sandbox"),
            exc_info=error,
        )


class Cut(Exception):
    """Tells the server to break the connection: the answer had begun and cannot be ended well."""


async def answer(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Send a problem, also in place of a WebSocket's handshake."""
    if scope["type"] == "http":
        response = problem.response(request_id(scope))
        if problem.headers.get("connection") == "close" and problem.status != REQUEST_TIMEOUT:
            await _linger(response, receive, send)
        else:
            await response(scope, receive, send)
    elif "websocket.http.response" in scope.get("extensions", {}):
        response = problem.response(request_id(scope))
        await send(
            {
                "type": "websocket.http.response.start",
                "status": response.status_code,
                "headers": response.raw_headers,
            }
        )
        await send({"type": "websocket.http.response.body", "body": bytes(response.body)})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": problem.detail[:100]})


async def _linger(response: Response, receive: Receive, send: Send) -> None:
    """Answer, then read on for a while before the connection is closed.

    Closing it with unread input would reset it, and the client might never see the answer.
    """
    head = {"status": response.status_code, "headers": response.raw_headers}
    await send({"type": "http.response.start", **head})
    await send({"type": "http.response.body", "body": bytes(response.body), "more_body": True})
    left = LINGER_BYTES
    with anyio.move_on_after(LINGER_S):
        while left > 0:
            message = await receive()
            if message["type"] != "http.request" or not message.get("more_body", False):
                break
            left -= len(message.get("body", b""))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _given_id(scope: Scope) -> str | None:
    for key, value in scope["headers"]:
        if key == b"x-request-id" and _GOOD_ID.fullmatch(value):
            return str(value.decode())
    return None
