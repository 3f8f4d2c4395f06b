import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.types import Message

from atoll.backends.fake import Invocation
from tests.http.rig import LOOPBACK, Web

pytestmark = pytest.mark.anyio
BOX = "/v1/sandboxes/box"


@pytest.fixture
async def box(web: Web) -> Web:
    """A server with a sandbox."""
    assert (await web.client.post("/v1/sandboxes", json={"name": "box"})).status_code == 201
    return web


@dataclass
class Socket:
    """The client's end of a WebSocket, without a network."""

    to_server: MemoryObjectSendStream[Message]
    from_server: MemoryObjectReceiveStream[Message]

    async def send(self, **message: Any) -> None:
        await self.to_server.send({"type": "websocket.receive", **message})

    async def say(self, **body: Any) -> None:
        await self.send(text=json.dumps(body))

    async def receive(self) -> Message:
        with anyio.fail_after(5):
            return await self.from_server.receive()

    async def bytes_until(self, end: bytes) -> bytes:
        data = b""
        while end not in data:
            message = await self.receive()
            assert message["type"] == "websocket.send", message
            data += message["bytes"]
        return data


@asynccontextmanager
async def attached(
    web: Web, path: str, headers: list[tuple[bytes, bytes]] | None = None, query: bytes = b""
) -> AsyncGenerator[Socket, None]:
    """Connect to a path of the application."""
    scope = {
        "type": "websocket",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(b"host", b"localhost"), *(headers or [])],
        "client": LOOPBACK,
        "subprotocols": [],
        "extensions": {"websocket.http.response": {}},
        "app": web.app,
    }
    to_server, server_reads = anyio.create_memory_object_stream[Message](100)
    server_writes, from_server = anyio.create_memory_object_stream[Message](100)
    async with anyio.create_task_group() as group:

        async def serve() -> None:
            with server_reads, server_writes:
                await web.app(scope, server_reads.receive, server_writes.send)

        with to_server, from_server:
            await to_server.send({"type": "websocket.connect"})
            group.start_soon(serve)
            yield Socket(to_server, from_server)
        group.cancel_scope.cancel()


async def test_a_terminal(box: Web) -> None:
    await box.client.post(f"{BOX}/processes", json={"argv": ["cat"], "stdin_open": True})
    async with attached(box, f"{BOX}/processes/1/attach") as socket:
        assert (await socket.receive())["type"] == "websocket.accept"
        await socket.send(bytes=b"\xffabc\n")
        assert await socket.bytes_until(b"\n") == b"\xffabc\n"
        await socket.say(type="eof")
        end = json.loads((await socket.receive())["text"])
        assert (end["type"], end["exit_code"], end["reason"]) == ("exit", 0, "exited")
        assert (await socket.receive())["code"] == 1000


async def test_resize_and_signal(box: Web) -> None:
    async def watch(call: Invocation) -> int:
        await call.stdout(b"ready\n")
        await anyio.sleep_forever()
        return 0

    box.backend.script("watch", watch)
    await box.client.post(f"{BOX}/processes", json={"argv": ["watch"], "tty": {}})
    async with attached(box, f"{BOX}/processes/1/attach") as socket:
        await socket.receive()
        await socket.bytes_until(b"\n")
        await socket.say(type="resize", rows=50, cols=100)
        await socket.say(type="odd")
        wrong = json.loads((await socket.receive())["text"])
        assert (wrong["type"], wrong["status"]) == ("error", 422)
        await socket.send(text="not json")
        assert json.loads((await socket.receive())["text"])["code"] == "invalid_request"
        await socket.say(type="signal", signal="SIGKILL")
        end = json.loads((await socket.receive())["text"])
        assert (end["reason"], end["signal"]) == ("signal", 9)


async def test_hanging_up_leaves_it_running(box: Web) -> None:
    await box.client.post(f"{BOX}/processes", json={"argv": ["cat"], "stdin_open": True})
    for line in (b"one\n", b"two\n"):
        async with attached(box, f"{BOX}/processes/1/attach") as socket:
            await socket.receive()
            await socket.send(bytes=line)
            await socket.bytes_until(line)
            await socket.to_server.send({"type": "websocket.disconnect", "code": 1001})
    assert (await box.client.get(f"{BOX}/processes/1")).json()["exit"] is None
    async with attached(box, f"{BOX}/processes/1/attach", query=b"position=4") as socket:
        await socket.receive()
        assert await socket.bytes_until(b"\n") == b"two\n"


async def test_refused_before_the_handshake(box: Web) -> None:
    for path, headers, status in (
        (f"{BOX}/processes/9/attach", [], 404),
        (f"{BOX}/processes/1/attach", [(b"x-api-key", b"atoll_wrong")], 401),
        (f"{BOX}/processes/1/attach", [(b"origin", b"https://evil.example")], 403),
    ):
        async with attached(box, path, headers) as socket:
            start = await socket.receive()
            assert (start["type"], start["status"]) == ("websocket.http.response.start", status)
            assert json.loads((await socket.receive())["body"])["status"] == status


async def test_the_drain_ends_terminals(box: Web) -> None:
    await box.client.post(f"{BOX}/processes", json={"argv": ["cat"], "stdin_open": True})
    async with attached(box, f"{BOX}/processes/1/attach") as socket:
        await socket.receive()
        await socket.send(bytes=b"x\n")
        await socket.bytes_until(b"\n")
        box.app.state.front.streams.end_followers()
        assert (await socket.receive())["type"] == "websocket.close"
