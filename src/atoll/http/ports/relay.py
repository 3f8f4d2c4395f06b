"""A WebSocket to a program in a sandbox: two connections, message by message.

The client's is the server's own; towards the program a sans-I/O protocol does the framing. Messages
are bounded, and each side is only read from as fast as the other takes it.
"""

import logging

import anyio
from starlette.types import Message
from starlette.websockets import WebSocket
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from atoll.core.ports import Connection
from atoll.http.errors import Refused
from atoll.http.middleware.boundary import single
from atoll.http.ports.headers import Pairs, inward, outward
from atoll.http.ports.place import Place

MESSAGE_BYTES = 1024 * 1024
SEND_S = 60.0
CLOSE_S = 5.0
NORMAL, GOING_AWAY, NO_CODE, NOT_TEXT, TOO_BIG, BROKEN = 1000, 1001, 1005, 1007, 1009, 1011
_CODES = frozenset({NORMAL, GOING_AWAY, 1002, 1003, *range(1007, 1015)})
_APPLICATIONS = range(3000, 5000)
_FAULTS = frozenset({1002, NOT_TEXT, TOO_BIG})
_PIECE = 64 * 1024
_REASON_BYTES = 120
_HANDSHAKE = frozenset(
    {
        b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions",
        b"sec-websocket-protocol", b"sec-websocket-accept", b"content-length",
        b"content-security-policy",
    }
)  # fmt: skip
# The library logs what a peer does wrong; what guests do wrong is no concern of our log.
_silent = logging.getLogger("atoll.ports.silent")
_silent.disabled = True


class Relay:
    """One client and one program."""

    def __init__(self, websocket: WebSocket, line: Connection, place: Place) -> None:
        self._websocket = websocket
        self._line = line
        self._place = place
        self._parts: list[bytes] = []
        self._opcode = Opcode.BINARY
        self._size = 0
        given = Pairs(websocket.scope["headers"])
        self._peer = ClientProtocol(
            parse_uri(f"ws://localhost:{place.port}/"),
            subprotocols=[Subprotocol(each) for each in websocket.scope["subprotocols"]] or None,
            max_size=MESSAGE_BYTES,
            logger=_silent,
        )
        scheme = "https" if websocket.scope.get("scheme") == "wss" else "http"
        self._headers = inward(given, port=place.port, prefix=place.prefix, scheme=scheme)

    async def run(self, answer_s: float) -> None:
        """Shake hands with the program, accept the client, carry messages until one side ends.

        `Refused` when the program does not take it, before the client is accepted.
        """
        response = await self._shake_hands(answer_s)
        headers = outward(
            [(n.encode(), v.encode("latin-1", "replace")) for n, v in response.headers.raw_items()],
            port=self._place.port,
            prefix=self._place.prefix,
        )
        await self._websocket.accept(
            self._peer.subprotocol, [pair for pair in headers if pair[0] not in _HANDSHAKE]
        )
        code, reason = GOING_AWAY, ""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._listen, group.cancel_scope)
                code, reason = await self._speak()
                group.cancel_scope.cancel()
        except BaseExceptionGroup as error:
            raise single(error) from None
        if self._websocket.client_state.name == "CONNECTED":
            await self._websocket.close(code, reason)

    async def _shake_hands(self, answer_s: float) -> Response:
        request: Request = self._peer.connect()
        request.path = self._place.target.decode("latin-1")
        headers: Headers = request.headers
        for name, value in self._headers:
            if name not in _HANDSHAKE and name != b"host":
                headers[name.decode("latin-1")] = value.decode("latin-1")
        self._peer.send_request(request)
        try:
            with anyio.fail_after(answer_s):
                await self._flush()
                while not (events := self._peer.events_received()):
                    if self._peer.handshake_exc is not None:
                        raise self._bad("it is no WebSocket")
                    await self._receive()
        except TimeoutError:
            raise Refused(
                504,
                f"The program at port {self._place.port} did not take the WebSocket within "
                f"{answer_s:g} s.",
            ) from None
        except ConnectionError:
            raise self._bad("it hung up") from None
        response = events[0]
        refused = self._peer.handshake_exc
        if refused is not None or not isinstance(response, Response):
            raise self._bad(str(refused) if isinstance(refused, InvalidHandshake) else "refused")
        self._left = events[1:]
        return response

    async def _receive(self) -> None:
        data = await self._line.receive(_PIECE)
        if data:
            self._peer.receive_data(data)
        else:
            self._peer.receive_eof()
            if not self._peer.handshake_exc and self._peer.state.name == "CONNECTING":
                raise ConnectionResetError

    async def _flush(self) -> None:
        """What the protocol has to say: frames, and answers to pings."""
        for data in self._peer.data_to_send():
            if data:
                with anyio.fail_after(SEND_S):
                    await self._line.send(data)
            else:
                await self._line.end()

    async def _speak(self) -> tuple[int, str]:
        """From the program to the client, until the program ends it: the code and the reason."""
        events = self._left
        try:
            while True:
                for event in events:
                    if isinstance(event, Frame):
                        wrong = await self._take(event)
                        if wrong:
                            return wrong, ""
                await self._flush()
                if self._peer.state.name in {"CLOSING", "CLOSED"}:
                    return self._verdict()
                await self._receive()
                events = self._peer.events_received()
        except (ConnectionError, TimeoutError, ProtocolError):
            return BROKEN, ""

    async def _take(self, frame: Frame) -> int:
        """One frame; the code to end with if it cannot be taken."""
        if frame.opcode in {Opcode.TEXT, Opcode.BINARY}:
            self._parts, self._size, self._opcode = [], 0, frame.opcode
        elif frame.opcode is not Opcode.CONT:
            return 0
        self._parts.append(bytes(frame.data))
        self._size += len(frame.data)
        if self._size > MESSAGE_BYTES:
            return TOO_BIG
        if not frame.fin:
            return 0
        data, self._parts = b"".join(self._parts), []
        if self._opcode is Opcode.BINARY:
            await self._websocket.send_bytes(data)
            return 0
        try:
            await self._websocket.send_text(data.decode())
        except UnicodeDecodeError:
            return NOT_TEXT
        return 0

    def _verdict(self) -> tuple[int, str]:
        """What the program said when it closed, or what was wrong with it."""
        said = self._peer.close_rcvd
        if said is None:
            ours = self._peer.close_sent
            return (ours.code if ours is not None and ours.code in _FAULTS else BROKEN), ""
        if said.code == NO_CODE:
            return NORMAL, ""
        if not (said.code in _CODES or said.code in _APPLICATIONS):
            return BROKEN, ""
        return said.code, said.reason.encode()[:_REASON_BYTES].decode(errors="ignore")

    async def _listen(self, everything: anyio.CancelScope) -> None:
        """From the client to the program, until the client goes."""
        try:
            while True:
                message = await self._websocket.receive()
                if message["type"] == "websocket.disconnect":
                    break
                self._say(message)
                await self._flush()
        except (ConnectionError, TimeoutError, ProtocolError):
            return  # the other direction finds out why
        with anyio.move_on_after(CLOSE_S):
            await self._part(int(message.get("code") or GOING_AWAY))
        everything.cancel()

    def _say(self, message: Message) -> None:
        data, text = message.get("bytes"), message.get("text")
        if data is not None:
            self._peer.send_binary(data)
        elif text is not None:
            self._peer.send_text(text.encode())

    async def _part(self, code: int) -> None:
        """Tell the program that the client has gone, and why."""
        try:
            self._peer.send_close(code)
        except ProtocolError:
            self._peer.fail(GOING_AWAY)
        try:
            await self._flush()
        except (ConnectionError, TimeoutError):
            return

    def _bad(self, why: str) -> Refused:
        return Refused(
            502, f"The program at port {self._place.port} did not take the WebSocket: {why}."
        )
