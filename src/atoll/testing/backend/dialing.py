"""The power to connect to what listens in a sandbox."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from atoll.core.errors import NotListening
from atoll.core.model import BackendReport
from atoll.core.ports import Backend, Connection, Dials, Sandbox
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import DEADLINE_S, first, fresh, python

SERVER = """
import socket, sys
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=socket.{family})
print("ready", flush=True)
while True:
    line, _ = server.accept()
    with line:
        {act}
"""
ECHO = """while data := line.recv(65536):
            line.sendall(data)"""


@asynccontextmanager
async def listening(
    box: Sandbox, port: int, act: str = ECHO, *, host: str = "127.0.0.1"
) -> AsyncGenerator[None]:
    """A server in the sandbox, one connection after the other."""
    family = "AF_INET6" if ":" in host else "AF_INET"
    text = SERVER.format(act=act, family=family)
    spec = python(text.replace("sys.argv[1]", repr(host)).replace("sys.argv[2]", str(port)))
    process = await box.start(spec)
    assert (await first(process)).startswith(b"ready")
    try:
        yield
    finally:
        await process.signal(9)


@asynccontextmanager
async def dialled(box: Sandbox, port: int) -> AsyncGenerator[Connection]:
    """A connection, closed at the end."""
    assert isinstance(box, Dials), "It promised to dial."
    with anyio.fail_after(DEADLINE_S):
        line = await box.dial(port)
        try:
            yield line
        finally:
            await line.aclose()


async def everything(line: Connection) -> bytes:
    """What comes until the end."""
    parts: list[bytes] = []
    while part := await line.receive():
        parts.append(part)
    return b"".join(parts)


class DialCases(Cases):
    """`core.ports.Dials`."""

    async def test_the_promise_is_kept(self, report: BackendReport, box: Sandbox) -> None:
        assert isinstance(box, Dials) is ("ports" in report.capabilities)

    @needs("ports", "python")
    @pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
    async def test_bytes_both_ways_and_an_end_each(self, box: Sandbox, host: str) -> None:
        async with listening(box, 8080, host=host), dialled(box, 8080) as line:
            await line.send(b"hello")
            assert await line.receive(3) == b"hel"
            assert await line.receive() == b"lo"
            await line.end()
            await line.end()
            assert await line.receive() == b""

    @needs("ports", "python")
    async def test_more_than_any_buffer(self, box: Sandbox) -> None:
        data = bytes(range(256)) * 40_000
        async with listening(box, 8081), dialled(box, 8081) as line:

            async def send() -> None:
                await line.send(data)
                await line.end()

            async with anyio.create_task_group() as group:
                group.start_soon(send)
                assert await everything(line) == data

    @needs("ports", "python")
    async def test_who_does_not_read_holds_the_sender_up(self, box: Sandbox) -> None:
        act = "import time; time.sleep(20)"
        async with listening(box, 8082, act), dialled(box, 8082) as line:
            with anyio.move_on_after(1.0) as scope:
                await line.send(b"x" * 64 * 1024 * 1024)
            assert scope.cancelled_caught

    @needs("ports", "python")
    async def test_a_connection_broken_off_is_an_error(self, box: Sandbox) -> None:
        act = "line.recv(1); line.setsockopt(1, 13, bytes((1, 0, 0, 0, 0, 0, 0, 0)))"
        async with listening(box, 8083, act), dialled(box, 8083) as line:
            await line.send(b"x")
            with pytest.raises(ConnectionError):
                await line.receive()

    @needs("ports")
    async def test_nothing_listens(self, box: Sandbox) -> None:
        for port in (1, 8099, 65_535):
            with pytest.raises(NotListening):
                async with dialled(box, port):
                    pass

    @needs("ports", "python")
    async def test_each_sandbox_has_its_own_ports(self, backend: Backend, box: Sandbox) -> None:
        async with backend.open(fresh()) as other, listening(other, 8084):
            async with dialled(other, 8084) as line:
                await line.send(b"mine")
                assert await line.receive() == b"mine"
            with pytest.raises(NotListening):
                async with dialled(box, 8084):
                    pass

    @needs("ports", "python")
    async def test_the_end_of_the_sandbox_ends_its_connections(self, backend: Backend) -> None:
        async with backend.open(fresh()) as box:
            async with listening(box, 8085):
                assert isinstance(box, Dials), "It promised to dial."
                line = await box.dial(8085)
        with anyio.fail_after(DEADLINE_S):
            with suppress(ConnectionError):
                assert await line.receive() == b""
        await line.aclose()
        await line.aclose()
