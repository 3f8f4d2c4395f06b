"""A process's terminal over a WebSocket: bytes both ways, resizing, the exit at the end."""

import json
from collections.abc import AsyncGenerator, Mapping
from types import TracebackType
from typing import Self

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from atoll.client import model, readers
from atoll.client.aio.drive import Socket, connect
from atoll.client.document import Document
from atoll.client.errors import Unreachable, problem_from

_OPEN_S = 30.0
_LARGEST_FRAME = 16 * 1024 * 1024


class AsyncTerminal:
    """An open terminal. Closing it leaves the program running."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.exit: model.Exit | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Detach."""
        await self._socket.close()

    async def send(self, data: bytes) -> None:
        """Type."""
        await self._send(data)

    async def resize(self, rows: int, cols: int) -> None:
        """Tell the terminal its size."""
        await self._send(json.dumps({"type": "resize", "rows": rows, "cols": cols}))

    async def signal(self, number: int) -> None:
        """Send a signal to the program."""
        await self._send(json.dumps({"type": "signal", "signal": number}))

    async def end_input(self) -> None:
        """End of file for the program."""
        await self._send(json.dumps({"type": "eof"}))

    async def output(self) -> AsyncGenerator[bytes, None]:
        """What the program writes, until its end (then `exit` is set) or a break of the line."""
        try:
            async for frame in self._socket:
                if isinstance(frame, bytes):
                    yield frame
                elif self._ended(frame):
                    return
        except ConnectionClosed as closed:
            raise Unreachable("The terminal's connection broke.", sent=True) from closed

    def _ended(self, frame: str) -> bool:
        document = Document(json.loads(frame))
        if document.text("type") != "exit":
            return False
        self.exit = readers.leave(document)
        return True

    async def _send(self, frame: str | bytes) -> None:
        try:
            await self._socket.send(frame)
        except ConnectionClosed as closed:
            raise Unreachable("The terminal's connection is closed.", sent=False) from closed


async def open_terminal(url: str, headers: Mapping[str, str], path: str) -> AsyncTerminal:
    """Connect to the terminal of the process at a path of the API."""
    address = "ws" + url.removeprefix("http") + path + "/attach"
    try:
        socket = await connect(
            address,
            additional_headers=dict(headers),
            open_timeout=_OPEN_S,
            max_size=_LARGEST_FRAME,
            # A loopback or private server is not asked for through a proxy.
            proxy=None,
        )
    except InvalidStatus as refused:
        answer = refused.response
        raise problem_from(
            answer.status_code, answer.headers, bytes(answer.body or b"")
        ) from refused
    except (OSError, InvalidHandshake) as failed:
        raise Unreachable(f"{url} did not answer: {failed}", sent=False) from failed
    return AsyncTerminal(socket)
