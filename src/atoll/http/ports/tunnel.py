"""A bare connection to a program in a sandbox, over a WebSocket: for what is not HTTP.

Binary frames are bytes, both ways; the text frame `{"type":"eof"}` says that no more will come from
its side.
"""

import anyio
from pydantic_core import to_json
from starlette.websockets import WebSocket

from atoll.core.ports import Connection
from atoll.http.middleware.boundary import single

SEND_S = 60.0
NORMAL, BROKEN, NOT_UNDERSTOOD = 1000, 1011, 1003
BOTH = 2
_PIECE = 64 * 1024
_EOF = to_json({"type": "eof"}).decode()


class Tunnel:
    """One client and one connection."""

    def __init__(self, websocket: WebSocket, line: Connection) -> None:
        self._websocket = websocket
        self._line = line
        self._code = NORMAL
        self._here = True
        self._ends = 0

    async def run(self) -> None:
        """Carry bytes until both sides have ended or one is gone."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._outward, group.cancel_scope)
                await self._inward(group.cancel_scope)
        except BaseExceptionGroup as error:
            raise single(error) from None
        if self._here:
            await self._websocket.close(self._code)

    async def _outward(self, everything: anyio.CancelScope) -> None:
        try:
            while data := await self._line.receive(_PIECE):
                await self._websocket.send_bytes(data)
            await self._websocket.send_text(_EOF)
            self._ended(everything)
        except ConnectionError:
            self._break(everything, BROKEN)

    async def _inward(self, everything: anyio.CancelScope) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                self._here = False
                everything.cancel()
                return
            data = message.get("bytes")
            try:
                with anyio.fail_after(SEND_S):
                    if data is not None:
                        await self._line.send(data)
                    elif message.get("text") == _EOF:
                        await self._line.end()
                        self._ended(everything)
                    else:
                        self._break(everything, NOT_UNDERSTOOD)
            except (ConnectionError, TimeoutError):
                self._break(everything, BROKEN)

    def _ended(self, everything: anyio.CancelScope) -> None:
        """One side has said all; behind the second there is nothing to wait for."""
        self._ends += 1
        if self._ends == BOTH:
            everything.cancel()

    def _break(self, everything: anyio.CancelScope, code: int) -> None:
        self._code = code
        everything.cancel()
