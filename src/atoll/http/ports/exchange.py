"""One HTTP request to a program in a sandbox, and its answer: both streamed, both bounded.

Every byte of the answer is hostile. Its head is parsed whole, with a bound, before anything of it
is passed on; what is passed on was parsed and is written anew, never copied.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import anyio.lowlevel
import h11
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from atoll.core.ports import Connection
from atoll.http.errors import Refused
from atoll.http.middleware.boundary import Cut, single
from atoll.http.ports.headers import Pairs, inward, outward
from atoll.http.ports.place import Place

HEAD_BYTES = 64 * 1024
SEND_S = 60.0
_PIECE = 64 * 1024
_EARLY_MAX = 32  # what comes before an answer: 100, 103 and their like
_TURN = 64
_STATUSES = range(200, 600)


class Exchange:
    """`answer_s` is for the head, from the last piece of the request on; `idle_s` for silence."""

    def __init__(
        self, line: Connection, place: Place, scope: Scope, *, answer_s: float, idle_s: float
    ) -> None:
        self._line = line
        self._place = place
        self._scope = scope
        self._answer_s = answer_s
        self._idle_s = idle_s
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES)
        self._head = anyio.CancelScope()
        self._events = 0
        self._gone = False

    async def run(self, receive: Receive, send: Send) -> None:
        """Carry both. `Refused` before the answer has begun, `Cut` when it breaks off later."""
        request = self._request()
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._upload, request, receive, group.cancel_scope)
                await self._download(send)
                group.cancel_scope.cancel()
        except BaseExceptionGroup as error:
            raise single(error) from None
        if self._gone:
            raise ClientDisconnect

    def _request(self) -> h11.Request:
        place, given = self._place, Pairs(self._scope["headers"])
        headers = inward(
            given, port=place.port, prefix=place.prefix, scheme=self._scope.get("scheme", "http")
        )
        if any(name == b"transfer-encoding" for name, _ in given):
            headers = [pair for pair in headers if pair[0] != b"content-length"]
            headers.append((b"transfer-encoding", b"chunked"))
        headers.append((b"connection", b"close"))
        try:
            return h11.Request(method=self._scope["method"], target=place.target, headers=headers)
        except h11.LocalProtocolError as error:
            raise Refused(400, f"The request cannot be passed on: {error}.") from error

    async def _upload(
        self, request: h11.Request, receive: Receive, everything: anyio.CancelScope
    ) -> None:
        """Send the request, then wait for the client to hang up."""
        sending = await self._pass(request)
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._gone = True
                everything.cancel()
                return
            if sending:
                sending = await self._pass_body(message)

    async def _pass_body(self, message: Message) -> bool:
        """False when there is no more to pass."""
        body = message.get("body", b"")
        for start in range(0, len(body), _PIECE):
            if not await self._pass(h11.Data(data=body[start : start + _PIECE])):
                return False
        if message.get("more_body", False):
            return True
        await self._pass(h11.EndOfMessage())
        return False

    async def _pass(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> bool:
        """False when the program does not listen any more: its answer may be there in spite."""
        data = self._http.send(event)
        try:
            with anyio.fail_after(SEND_S):
                if data:
                    await self._line.send(data)
        except (ConnectionError, TimeoutError):
            return False
        self._head.deadline = anyio.current_time() + self._answer_s
        return True

    async def _download(self, send: Send) -> None:
        head = await self._answer()
        place = self._place
        await send(
            {
                "type": "http.response.start",
                "status": head.status_code,
                "headers": outward(head.headers, port=place.port, prefix=place.prefix),
            }
        )
        try:
            async with aclosing(self._body()) as pieces:
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except (h11.RemoteProtocolError, ConnectionError, TimeoutError):
            raise Cut from None
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self) -> h11.Response:
        try:
            with self._head:
                self._head.deadline = anyio.current_time() + self._answer_s
                for _ in range(_EARLY_MAX):
                    event = await self._next()
                    if isinstance(event, h11.Response) and event.status_code in _STATUSES:
                        self._head.deadline = float("inf")
                        return event
                    if not isinstance(event, h11.InformationalResponse):
                        raise self._bad("its status is none")
                raise self._bad("it keeps saying that the answer will come")
        except h11.RemoteProtocolError as error:
            raise self._bad(str(error)) from error
        except ConnectionError as error:
            raise self._bad("it hung up") from error
        raise Refused(
            504,
            f"The program at port {self._place.port} did not begin to answer within "
            f"{self._answer_s:g} s.",
        )

    async def _body(self) -> AsyncGenerator[bytes, None]:
        while True:
            with anyio.fail_after(self._idle_s):
                event = await self._next()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise ConnectionError

    async def _next(self) -> object:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                self._events += 1
                if self._events % _TURN == 0:  # a piece may hold thousands of them
                    await anyio.lowlevel.checkpoint()
                return event
            self._http.receive_data(await self._line.receive(_PIECE))

    def _bad(self, why: str) -> Refused:
        return Refused(
            502, f"The program at port {self._place.port} did not answer in HTTP/1.1: {why}."
        )
