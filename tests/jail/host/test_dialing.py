"""A connection into a sandbox: whoever is at its other end does not keep the server to itself."""

import socket
import threading

import anyio
import pytest

from atoll.jail.host.dialing import SocketConnection

pytestmark = pytest.mark.anyio


def _flood(sock: socket.socket) -> None:
    while True:
        try:
            sock.sendall(b"x" * 65_536)
        except OSError:
            return


async def test_a_flood_leaves_deadlines_their_turn() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    line = SocketConnection(ours)
    flood = threading.Thread(target=_flood, args=(theirs,))
    flood.start()
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            await anyio.sleep(0.01)  # waits on purpose: counts the turns that it gets
            turns += 1

    try:
        with anyio.move_on_after(0.5) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(tick)
                while await line.receive():
                    pass
        assert scope.cancelled_caught
        assert turns > 5
    finally:
        await line.aclose()
        theirs.close()
        flood.join(5)
