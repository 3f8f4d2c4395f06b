"""A process's terminal over a WebSocket: bytes both ways, resizing, the exit at the end."""

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from websockets.exceptions import ConnectionClosed

from atoll.client import model, readers
from atoll.client.aio.drive import Socket
from atoll.client.aio.lines import open_socket
from atoll.client.document import Document
from atoll.client.errors import AtollError, Unreachable, problem_in


class AsyncTerminal:
    """An open terminal. The end of its block leaves the program running."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self.exit: model.Exit | None = None

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

    async def aclose(self) -> None:
        """Detach early; `output` ends."""
        await self._socket.close()

    async def output(self) -> AsyncGenerator[bytes, None]:
        """What the program writes, until its end: then `exit` is set.

        Raises when the line breaks before that. A problem with what was sent (a resize that came
        too late, say) ends nothing; it is raised only where the server hangs up over it.
        """
        problem: AtollError = Unreachable("The terminal's connection broke.", sent=True)
        try:
            async for frame in self._socket:
                if isinstance(frame, bytes):
                    yield frame
                    continue
                document = Document.parse(frame)
                if document.text("type") == "exit":
                    self.exit = readers.leave(document)
                    return
                if document.text("type") == "error":
                    problem = problem_in(document.fields)
        except ConnectionClosed as closed:
            raise problem from closed
        raise problem

    async def _send(self, frame: str | bytes) -> None:
        try:
            await self._socket.send(frame)
        except ConnectionClosed as closed:
            raise Unreachable("The terminal's connection is closed.", sent=False) from closed


@asynccontextmanager
async def open_terminal(
    url: str, headers: Mapping[str, str], path: str
) -> AsyncGenerator[AsyncTerminal, None]:
    """Connect to the terminal of the process at a path of the API."""
    async with open_socket(url, headers, f"{path}/attach") as socket:
        yield AsyncTerminal(socket)
