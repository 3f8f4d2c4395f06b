"""An HTTP proxy for one sandbox: every request is judged by the host that it names.

The host is looked up and judged here, and what is connected to is an address that was judged: there
is no second look-up that could say otherwise. One connection carries one request or one tunnel.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import anyio
import h11
from anyio.abc import ByteStream

from atoll.core.errors import InvalidRequest
from atoll.core.network import Address, entry
from atoll.network.hello import HELLO_MAX, is_tls, server_name

HEAD_BYTES = 32_768
HEAD_S = 20.0
DIAL_S = 10.0
IDLE_S = 300.0
CONNECTIONS_MAX = 64
_PIECE = 65_536
_HELLO_PIECES = 64  # a greeting is read anew with each
_GONE = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)
# RFC 9110 7.6.1, and what is between a client and its proxy.
_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"upgrade"}
_FRAMING = {b"content-length", b"transfer-encoding"}

Reachable = Callable[[str, int], Awaitable[Sequence[Address]]]
Dial = Callable[[str, int], Awaitable[ByteStream]]


@dataclass(frozen=True, slots=True)
class _Target:
    host: str
    port: int
    authority: bytes
    path: bytes = b""  # of plain HTTP; a tunnel has none
    named: bool = False


class _RefusedError(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Proxy:
    """`reachable` says at which addresses a host may be reached: none, where it may not."""

    def __init__(self, reachable: Reachable, dial: Dial = anyio.connect_tcp) -> None:
        self._reachable = reachable
        self._dial = dial
        self.refused = 0  # tunnels that asked for another server than the one they were for
        self._places = anyio.CapacityLimiter(CONNECTIONS_MAX)
        self._open: set[anyio.CancelScope] = set()

    def drop(self) -> None:
        """End what is open: another policy holds from now on."""
        self.refused = 0
        for scope in tuple(self._open):
            scope.cancel()

    async def serve(self, peer: ByteStream) -> None:
        """One connection, to its end. More than there are places for are closed at once."""
        async with peer:
            if self._places.available_tokens < 1:
                return
            async with self._places:
                with anyio.CancelScope() as scope, suppress(*_GONE):
                    self._open.add(scope)
                    try:
                        await self._exchange(peer)
                    finally:
                        self._open.discard(scope)

    async def _exchange(self, peer: ByteStream) -> None:
        near = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        try:
            request = await _request(near, peer)
            target = _target(request)
            far = await self._connect(target)
        except _RefusedError as refused:
            await _say(near, peer, refused)
            return
        async with far:
            with anyio.CancelScope(deadline=anyio.current_time() + IDLE_S) as idle:
                if target.path:
                    await _forward(near, peer, far, _onward(request, target), idle)
                else:
                    name = target.host if target.named else None
                    if not await _tunnel(near, peer, far, name, idle):
                        self.refused += 1

    async def _connect(self, target: _Target) -> ByteStream:
        with anyio.move_on_after(DIAL_S):
            addresses = await self._reachable(target.host, target.port)
            if not addresses:
                raise _RefusedError(403, "The sandbox's network policy does not allow this host.")
            for address in addresses:
                with suppress(OSError):
                    return await self._dial(str(address), target.port)
        raise _RefusedError(502, "The host does not answer.")


async def _request(near: h11.Connection, peer: ByteStream) -> h11.Request:
    try:
        with anyio.fail_after(HEAD_S):
            event = await _next(near, peer)
    except h11.RemoteProtocolError as error:
        raise _RefusedError(error.error_status_hint, "This is no HTTP request.") from None
    except TimeoutError:
        raise _RefusedError(408, "The request did not come in time.") from None
    if not isinstance(event, h11.Request):
        raise anyio.EndOfStream
    return event


async def _next(near: h11.Connection, peer: ByteStream) -> object:
    while (event := near.next_event()) is h11.NEED_DATA:
        try:
            near.receive_data(await peer.receive(_PIECE))
        except anyio.EndOfStream:
            near.receive_data(b"")
    return event


def _target(request: h11.Request) -> _Target:
    authority, path, port = request.target, b"", None
    if request.method == b"CONNECT":
        if any(name in _FRAMING for name, _ in request.headers):
            raise _RefusedError(400, "A tunnel is asked for without a body.")
    else:
        scheme, _, rest = request.target.partition(b"://")
        if scheme.lower() != b"http":
            raise _RefusedError(400, "A proxy is asked with http://HOST/PATH or CONNECT HOST:PORT.")
        end = min((at for each in b"/?#" if (at := rest.find(each)) >= 0), default=len(rest))
        authority, path, port = rest[:end], rest[end:].partition(b"#")[0], 80
        path = path if path.startswith(b"/") else b"/" + path
    try:
        found = entry(authority.decode("ascii"), "target")
    except (InvalidRequest, UnicodeDecodeError):
        raise _RefusedError(400, "The request names no host.") from None
    port = found.port or port
    one = found.network is None or b"/" not in authority
    if port is None or found.below or not one:
        raise _RefusedError(400, "The request names no host and port.")
    host = found.name if found.network is None else str(found.network.network_address)
    return _Target(host, port, authority, path, named=found.network is None)


def _onward(request: h11.Request, target: _Target) -> h11.Request:
    """The same for the host itself: its own name in `Host`, and nothing meant for the proxy."""
    named = [value for name, value in request.headers if name == b"connection"]
    hop = _HOP | {word.strip().lower() for value in named for word in value.split(b",")} - _FRAMING
    kept = [
        (name, value)
        for name, value in request.headers
        if name not in hop and name != b"host" and not name.startswith(b"proxy-")
    ]
    headers = [(b"host", target.authority), *kept, (b"connection", b"close")]
    return h11.Request(method=request.method, target=target.path, headers=headers)


async def _forward(
    near: h11.Connection,
    peer: ByteStream,
    far: ByteStream,
    request: h11.Request,
    idle: anyio.CancelScope,
) -> None:
    """The request, framed anew so that nothing but it goes on; the answer as it comes."""
    onward = h11.Connection(h11.CLIENT)

    async def body() -> None:
        with suppress(*_GONE, h11.ProtocolError):
            await far.send(onward.send(request) or b"")
            event: object = None
            while not isinstance(event, h11.EndOfMessage):
                event = await _next(near, peer)
                if not isinstance(event, h11.Data | h11.EndOfMessage):
                    break
                if piece := onward.send(event):
                    await far.send(piece)
                idle.deadline = anyio.current_time() + IDLE_S
            else:
                return
        idle.cancel()  # half a request is not left to be taken for a whole one

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(body)
        await _copy(far, peer, idle)
        tasks.cancel_scope.cancel()


async def _tunnel(
    near: h11.Connection,
    peer: ByteStream,
    far: ByteStream,
    name: str | None,
    idle: anyio.CancelScope,
) -> bool:
    """Both ways until both have ended; whether TLS in it asked for that name, if there was any."""
    await _next(near, peer)  # the end of the request
    early, _ = near.trailing_data
    await peer.send(near.send(h11.Response(status_code=200, headers=[])) or b"")
    meant = True

    async def out() -> None:
        nonlocal meant
        with suppress(*_GONE):
            first = early
            if name is not None:
                first, meant = await _greeting(peer, early, name)
            if not meant:
                tasks.cancel_scope.cancel()
                return
            await far.send(first)
            await _copy(peer, far, idle)
        with suppress(*_GONE):
            await far.send_eof()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(out)
        await _copy(far, peer, idle)
        with suppress(*_GONE):
            await peer.send_eof()
    return meant


async def _greeting(peer: ByteStream, data: bytes, name: str) -> tuple[bytes, bool]:
    """The first bytes, as many as tell whether they are for that name; and whether they are."""
    data = data or await peer.receive(_PIECE)
    if not is_tls(data):
        return data, True
    with anyio.move_on_after(HEAD_S):
        for _ in range(_HELLO_PIECES):
            try:
                asked = server_name(data)
            except ValueError:
                break
            if asked is not None:
                return data, asked in {"", name}
            if len(data) > 2 * HELLO_MAX:
                break
            data += await peer.receive(_PIECE)
    return data, False


async def _copy(source: ByteStream, sink: ByteStream, idle: anyio.CancelScope) -> None:
    with suppress(*_GONE):
        while True:
            await sink.send(await source.receive(_PIECE))
            idle.deadline = anyio.current_time() + IDLE_S


async def _say(near: h11.Connection, peer: ByteStream, refused: _RefusedError) -> None:
    text = f"{refused}\n".encode()
    headers = [
        ("content-type", "text/plain"), ("content-length", str(len(text))), ("connection", "close"),
    ]  # fmt: skip
    head = h11.Response(status_code=refused.status, headers=headers)
    with anyio.move_on_after(HEAD_S):
        for event in (head, h11.Data(data=text), h11.EndOfMessage()):
            await peer.send(near.send(event) or b"")
