"""Whether an answer has begun, with which status, and what each answer carries."""

from collections.abc import Callable

from starlette.types import Message, Send

Headers = list[tuple[bytes, bytes]]


def _nothing(_: Headers) -> Headers:
    return []


class Tracked:
    """A `send` that adds `headers`, made from those that there are, to an answer's start.

    `status` is 0 until then, and stays so for a WebSocket.
    """

    def __init__(self, send: Send, headers: Callable[[Headers], Headers] = _nothing) -> None:
        self._send = send
        self._headers = headers
        self.begun = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun, self.status = True, message["status"]
            given = list(message.get("headers", ()))
            message["headers"] = [*given, *self._headers(given)]
        elif message["type"] == "websocket.accept":
            self.begun = True
        await self._send(message)
