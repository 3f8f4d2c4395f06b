"""The outermost layer of a dialect: nothing escapes but that system's own shape of error."""

from collections.abc import Callable

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.typing import FilteringBoundLogger

from atoll.core.errors import AtollError, BackendFault
from atoll.http.errors import Refused
from atoll.http.middleware.boundary import REQUEST_ID, Cut, single
from atoll.http.middleware.tracked import Headers, Tracked


class Translated:
    """Catches everything. `refuse` makes the answer; of an error that nobody knows, it gets None.

    `name` makes the request's id, and `headers` what every answer carries, given what it has.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        dialect: str,
        refuse: Callable[[AtollError | None, Scope], Response],
        name: Callable[[], str],
        headers: Callable[[Scope, Headers], Headers],
    ) -> None:
        self._app = app
        self._refuse = refuse
        self._name = name
        self._headers = headers
        self._log: FilteringBoundLogger = structlog.get_logger(f"atoll.{dialect}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return
        scope[REQUEST_ID] = self._name()
        tracked = Tracked(send, lambda given: self._headers(scope, given))
        try:
            await self._app(scope, receive, tracked)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - the request boundary
            known = self._judge(single(error), scope)
            if tracked.begun:
                raise Cut from None
            await self._refuse(known, scope)(scope, receive, tracked)

    def _judge(self, error: BaseException, scope: Scope) -> AtollError | None:
        if isinstance(error, HTTPException):
            return Refused(error.status_code, error.detail)
        if isinstance(error, AtollError) and not isinstance(error, BackendFault):
            return error
        self._log.error(
            "request failed",
            request_id=scope[REQUEST_ID],
            method=scope["method"],
            path=scope["path"],
            exc_info=error,
        )
        return error if isinstance(error, AtollError) else None
