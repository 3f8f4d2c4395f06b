"""Bounds of a request: how many headers, how large and how slow a body."""

from collections.abc import Callable

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atoll.http.errors import Refused
from atoll.settings import Settings


class Bounds:
    """Refuses with 431, 413 and 408, and then ends the connection.

    A body may take `body_timeout_s` and besides as long as it needs at `body_min_rate`; only the
    time in which the server waits for the client counts.
    """

    def __init__(
        self, app: ASGIApp, *, settings: Settings, upload: Callable[[Scope], bool]
    ) -> None:
        self._app = app
        self._settings = settings
        self._upload = upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        self._check_headers(scope)
        if scope["type"] == "websocket":
            await self._app(scope, receive, send)
            return
        settings = self._settings
        limit = settings.max_upload_bytes if self._upload(scope) else settings.max_body_bytes
        _check_length(scope, limit)
        await self._app(scope, _Body(receive, limit, settings).receive, send)

    def _check_headers(self, scope: Scope) -> None:
        headers = scope["headers"]
        if len(headers) > self._settings.max_headers:
            raise Refused(
                431, f"At most {self._settings.max_headers} headers are taken.", close=True
            )
        size = sum([len(name) + len(value) for name, value in headers])
        size += len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"")
        if size > self._settings.max_header_bytes:
            bound = self._settings.max_header_bytes
            raise Refused(431, f"Headers and URL may have {bound} bytes together.", close=True)


class _Body:
    """One body on its way in."""

    def __init__(self, receive: Receive, limit: int, settings: Settings) -> None:
        self._receive = receive
        self._limit = limit
        self._budget_s = settings.body_timeout_s
        self._rate = settings.body_min_rate
        self._received = 0
        self._complete = False

    async def receive(self) -> Message:
        """The next message; without a deadline once the body is complete."""
        if self._complete:
            return await self._receive()
        begun = anyio.current_time()
        try:
            with anyio.fail_after(self._budget_s):
                message = await self._receive()
        except TimeoutError:
            raise Refused(408, "The body came too slowly.", close=True) from None
        self._budget_s -= anyio.current_time() - begun
        if message["type"] == "http.request":
            self._count(len(message.get("body", b"")))
            self._complete = not message.get("more_body", False)
        return message

    def _count(self, size: int) -> None:
        self._received += size
        self._budget_s += size / self._rate
        if self._received > self._limit:
            raise too_large(self._limit)


def too_large(limit: int) -> Refused:
    """The 413 for a body over a bound."""
    return Refused(413, f"The body may have at most {limit} bytes here.", close=True)


def _check_length(scope: Scope, limit: int) -> None:
    for name, value in scope["headers"]:
        if name == b"content-length":
            if not value.isdigit():
                raise Refused(400, "Content-Length must be a number.", close=True)
            if int(value) > limit:
                raise too_large(limit)
