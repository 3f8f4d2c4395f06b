"""Server-sent events: one event's bytes, and a response that is made of them."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, nullcontext

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from atoll.core.errors import AtollError
from atoll.http.answers import encoded
from atoll.http.errors import problem_of
from atoll.http.front import Front
from atoll.http.middleware.boundary import request_id, single

MEDIA_TYPE = "text/event-stream"
Events = AsyncGenerator[bytes, None]
# A follower may wait long for its first event; its client is to know that it is connected.
OPEN_S = 0.25
_BUFFERED = 16
# What many clients take for the end of a line (`str.splitlines`) though the format does not.
_BREAKS = tuple((each.encode(), b"\\u%04x" % ord(each)) for each in "\x85\u2028\u2029")
_HEARTBEAT = b": keep-alive\n\n"


def event(kind: str, data: Mapping[str, object], position: object = None) -> bytes:
    """One event. JSON has no line breaks of its own, so one `data` line is enough."""
    head = b"" if position is None else b"id: %s\n" % str(position).encode()
    body = encoded(data)
    for raw, escaped in _BREAKS:
        body = body.replace(raw, escaped)
    return b"%sevent: %s\ndata: %s\n\n" % (head, kind.encode(), body)


class EventStream(Response):
    """A response whose generator runs in a task of its own, and is closed when the client goes.

    One that `follows` has no end of its own, so it ends when the server drains. A failure before
    the first event is an ordinary error response; after it, an `error` event.
    """

    def __init__(self, front: Front, events: Events, *, follows: bool = False) -> None:
        super().__init__(
            headers={"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"},
            media_type=MEDIA_TYPE,
        )
        del self.headers["content-length"]
        self._streams = front.streams
        self._heartbeat_s = front.settings.heartbeat_s
        self._events = events
        self._follows = follows
        self._started = False
        self._failure: AtollError | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = False
        try:
            async with aclosing(self._events):
                with self._streams.one():
                    async with anyio.create_task_group() as group:

                        async def watch() -> None:
                            nonlocal gone
                            while (await receive())["type"] != "http.disconnect":
                                pass
                            gone = True
                            group.cancel_scope.cancel()

                        writer, reader = anyio.create_memory_object_stream[bytes](_BUFFERED)
                        group.start_soon(self._pump, writer)
                        group.start_soon(watch)
                        with reader:
                            await self._forward(reader, scope, send)
                        group.cancel_scope.cancel()
        except BaseExceptionGroup as error:
            raise single(error) from None
        if gone:
            raise ClientDisconnect

    async def _pump(self, writer: MemoryObjectSendStream[bytes]) -> None:
        try:
            with writer, self._streams.follower() if self._follows else nullcontext():
                async with aclosing(self._events) as events:
                    async for piece in events:
                        await writer.send(piece)
        except AtollError as error:
            self._failure = error

    async def _forward(
        self, reader: MemoryObjectReceiveStream[bytes], scope: Scope, send: Send
    ) -> None:
        while True:
            piece = _HEARTBEAT
            opening = self._follows and not self._started
            with anyio.move_on_after(OPEN_S if opening else self._heartbeat_s):
                try:
                    piece = await reader.receive()
                except anyio.EndOfStream:
                    break
            await self._send(send, piece, more=True)
        if self._failure is None:
            await self._send(send, b"", more=False)
        elif self._started:
            problem = problem_of(self._failure)
            await self._send(send, event("error", problem.body(request_id(scope))), more=False)
        else:
            raise self._failure

    async def _send(self, send: Send, piece: bytes, *, more: bool) -> None:
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": piece, "more_body": more})
