"""Connections to programs in a sandbox, and what carries them: a WebSocket to the server."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from atoll.client.aio.drive import Socket, connect
from atoll.client.document import Document
from atoll.client.errors import Unreachable, problem_from

_OPEN_S = 30.0
_LARGEST_FRAME = 16 * 1024 * 1024
_PIECE = 64 * 1024
_NORMAL = 1000


class AsyncConnection:
    """Bytes to and from a program that listens in a sandbox. Open for the length of its block."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._ended = False

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        for start in range(0, len(data), _PIECE):
            await self._send(data[start : start + _PIECE])

    async def end(self) -> None:
        """There is no more to be sent; the program reads its end."""
        await self._send(json.dumps({"type": "eof"}, separators=(",", ":")))

    async def receive(self) -> bytes:
        """The next bytes; none at the end. `Unreachable` when it was broken off."""
        try:
            while not self._ended:
                frame = await self._socket.recv()
                if isinstance(frame, bytes):
                    if frame:
                        return frame
                elif Document.parse(frame).text("type") == "eof":
                    self._ended = True
        except ConnectionClosed as closed:
            if closed.rcvd is None or closed.rcvd.code != _NORMAL:
                raise Unreachable("The connection was broken off.", sent=True) from closed
            self._ended = True
        return b""

    async def _send(self, frame: str | bytes) -> None:
        try:
            await self._socket.send(frame)
        except ConnectionClosed as closed:
            raise Unreachable("The connection is closed.", sent=False) from closed


@asynccontextmanager
async def open_connection(
    url: str, headers: Mapping[str, str], path: str
) -> AsyncGenerator[AsyncConnection, None]:
    """Connect to the port at a path of the API."""
    async with open_socket(url, headers, path) as socket:
        yield AsyncConnection(socket)


@asynccontextmanager
async def open_socket(
    url: str, headers: Mapping[str, str], path: str
) -> AsyncGenerator[Socket, None]:
    """A WebSocket at a path of the API; a refusal is the problem that the server told."""
    connecting = connect(
        "ws" + url.removeprefix("http") + path,
        additional_headers=dict(headers),
        open_timeout=_OPEN_S,
        max_size=_LARGEST_FRAME,
        # A loopback or private server is not asked for through a proxy.
        proxy=None,
    )
    async with AsyncExitStack() as stack:
        try:
            socket = await stack.enter_async_context(connecting)
        except InvalidStatus as refused:
            answer = refused.response
            body = bytes(answer.body or b"")
            raise problem_from(answer.status_code, answer.headers, body) from refused
        except (OSError, InvalidHandshake) as failed:
            raise Unreachable(f"{url} did not answer: {failed}.", sent=False) from failed
        yield socket
