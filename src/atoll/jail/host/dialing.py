"""Connections into a sandbox: made by a worker inside, used out here.

The descriptor that the worker passes is of a socket in the sandbox's network namespace. It works
wherever it is held, so the server needs no network to the sandbox, nor the sandbox one to it.
"""

import asyncio
import contextlib
import os
import socket
from typing import Any, Protocol

import anyio
import anyio.lowlevel

from atoll.core.errors import BackendFault, NotListening
from atoll.guest import dialing

# Each address may take as long as the worker waits for it, and the worker has to be forked.
PATIENCE_S = 2 * dialing.CONNECT_S + 10.0
_SAID_MAX = 256


class Home(Protocol):
    """What dialling needs of the sandbox."""

    @property
    def id(self) -> str: ...

    def work(self, header: dict[str, Any], sock: int | None = None) -> None: ...


class SocketConnection:
    """Implements `core.ports.Connection`. Owns the socket, which does not block."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    async def receive(self, most: int = 65_536) -> bytes:
        try:
            data = self._sock.recv(most)
        except BlockingIOError:
            return await self._loop.sock_recv(self._sock, most)
        # A guest that always has something to say does not keep the others, nor its own deadline,
        # from their turn.
        await anyio.lowlevel.checkpoint()
        return data

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        with contextlib.suppress(BlockingIOError):
            view = view[self._sock.send(view) :]
        if view:
            await self._loop.sock_sendall(self._sock, view)
        else:
            await anyio.lowlevel.checkpoint()

    async def end(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    async def aclose(self) -> None:
        self._sock.close()


async def dial(home: Home, port: int) -> SocketConnection:
    """Connect to a port of the sandbox's loopback. `NotListening`."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        ours.setblocking(False)  # noqa: FBT003
        with theirs:
            home.work({"work": "dial", "port": port}, theirs.fileno())
        try:
            with anyio.fail_after(PATIENCE_S):
                await anyio.wait_readable(ours)
        except TimeoutError:
            raise NotListening(f"Port {port} of the sandbox did not answer in time.") from None
        said, fds, _, _ = socket.recv_fds(ours, _SAID_MAX, 1, socket.MSG_CMSG_CLOEXEC)
    if said == dialing.OK and len(fds) == 1:
        line = socket.socket(fileno=fds[0])
        line.setblocking(False)  # noqa: FBT003
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return SocketConnection(line)
    for fd in fds:
        os.close(fd)
    if not said:
        raise BackendFault("The sandbox could not be connected to.", sandbox_id=home.id)
    if b"ETIMEDOUT" in said:
        raise NotListening(f"What listens on port {port} of the sandbox takes no connection.")
    raise NotListening(f"No program listens on port {port} of the sandbox's loopback.")
