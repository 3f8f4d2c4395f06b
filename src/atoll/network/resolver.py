"""Where one sandbox asks: UDP and TCP at the host's end of its link, and nobody else's."""

import struct
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import anyio
import structlog
from anyio.abc import SocketAttribute, SocketStream, TaskGroup, TaskStatus, UDPSocket

_log = structlog.stdlib.get_logger(__name__)
ASKING_MAX = 16
STREAMS_MAX = 8
STREAM_S = 10.0
_UDP_MAX = 1232  # what needs more is asked again by TCP (DNS flag day 2020)
_LENGTH = struct.Struct(">H")
_TRUNCATED = 0x02

Answer = Callable[[bytes], Awaitable[bytes | None]]


@asynccontextmanager
async def listening(
    tasks: TaskGroup, address: str, answer: Answer
) -> AsyncGenerator[tuple[int, int], None]:
    """Answers at that address for the length of the block; the UDP and the TCP port."""
    resolver = _Resolver(address, answer)
    ports: tuple[int, int] = await tasks.start(resolver.serve)
    try:
        yield ports
    finally:
        resolver.scope.cancel()
        with anyio.CancelScope(shield=True):
            await resolver.ended.wait()


class _Resolver:
    def __init__(self, address: str, answer: Answer) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self._address = address
        self._answer = answer
        self._asking = anyio.CapacityLimiter(ASKING_MAX)
        self._sending = anyio.Lock()
        self._streams = anyio.CapacityLimiter(STREAMS_MAX)

    async def serve(self, *, task_status: TaskStatus[tuple[int, int]]) -> None:
        try:
            with self.scope:
                await self._serve(task_status)
        except* (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as gone:
            _log.warning(
                "a sandbox's names are not answered any more", error=str(gone.exceptions[0])
            )
        finally:
            self.ended.set()

    async def _serve(self, status: TaskStatus[tuple[int, int]]) -> None:
        where = self._address
        async with (
            await anyio.create_udp_socket(local_host=where, local_port=0) as datagrams,
            await anyio.create_tcp_listener(local_host=where, local_port=0) as streams,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(self._hear, datagrams, tasks)
            status.started(
                (
                    int(datagrams.extra(SocketAttribute.local_port)),  # noqa: S610
                    int(streams.extra(SocketAttribute.local_port)),  # noqa: S610
                )
            )
            await streams.serve(self._stream, tasks)

    async def _hear(self, socket: UDPSocket, tasks: TaskGroup) -> None:
        async for wire, (host, port) in socket:
            if self._asking.available_tokens >= 1:  # else it is dropped, as a busy server does
                tasks.start_soon(self._datagram, socket, wire, host, port)

    async def _datagram(self, socket: UDPSocket, wire: bytes, host: str, port: int) -> None:
        async with self._asking:
            said = await self._said(wire)
        if said is None:
            return
        async with self._sending:
            with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                await socket.sendto(said if len(said) <= _UDP_MAX else _cut(said), host, port)

    async def _stream(self, peer: SocketStream) -> None:
        async with peer:
            if self._streams.available_tokens < 1:
                return
            async with self._streams:
                with anyio.move_on_after(STREAM_S):
                    await _converse(peer, self._said)

    async def _said(self, wire: bytes) -> bytes | None:
        try:
            return await self._answer(wire)
        except Exception:  # noqa: BLE001 - a keeper: one question must not end all networks
            _log.exception("a question about a name failed")
            return None


def _cut(said: bytes) -> bytes:
    """The header and the question alone, with the word that there is more."""
    end = 12
    while said[end]:
        end += said[end] + 1
    end += 5
    counts = struct.pack(">HHHH", 1, 0, 0, 0)
    return said[:2] + bytes([said[2] | _TRUNCATED, said[3]]) + counts + said[12:end]


async def _converse(peer: SocketStream, answer: Answer) -> None:
    pending = bytearray()
    while True:
        while len(pending) < _LENGTH.size or len(pending) < 2 + _LENGTH.unpack_from(pending)[0]:
            try:
                pending += await peer.receive(4096)
            except (anyio.EndOfStream, anyio.BrokenResourceError, OSError):
                return
        (length,) = _LENGTH.unpack_from(pending)
        said = await answer(bytes(pending[2 : 2 + length]))
        del pending[: 2 + length]
        if said is None:
            return
        try:
            await peer.send(_LENGTH.pack(len(said)) + said)
        except (anyio.BrokenResourceError, OSError):
            return
