"""The server with a socket: what no in-process transport can show."""

import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from atoll.backends.fake import Invocation
from atoll.core.errors import Unavailable
from atoll.http import protocol
from atoll.http.runner import bind, run_server
from tests.http.rig import Web, events_of, served

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.blocking("uvicorn reads its own certificates and mime tables at start"),
]


@asynccontextmanager
async def running(**settings: Any) -> AsyncGenerator[tuple[Web, str], None]:
    """A server on a free port, stopped by a signal."""
    async with served(**settings) as web:
        with bind("127.0.0.1", 0) as sockets:
            url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
            async with anyio.create_task_group() as group:
                stopped = anyio.Event()

                async def serve() -> None:
                    await run_server(web.app, web.settings, sockets)
                    stopped.set()

                group.start_soon(serve)
                async with httpx.AsyncClient(base_url=url, timeout=10) as client:
                    await client.get("/healthz")
                    web.client, before = client, web.client
                    try:
                        yield web, url
                    finally:
                        web.client = before
                        if not stopped.is_set():
                            os.kill(os.getpid(), signal.SIGTERM)
                with anyio.fail_after(10):
                    await stopped.wait()


async def test_it_says_where_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    async with running() as (web, url):
        answer = await web.client.post("/v1/run", json={"argv": ["echo", "hi"]})
        assert answer.json()["stdout"] == "hi\n"
        assert "date" in answer.headers
        assert "server" not in answer.headers
    said = capsys.readouterr().out
    assert url in said
    assert "Isolation: fake (shared kernel)" in said
    assert "curl -s" in said


async def test_the_double_slash_survives() -> None:
    async with running() as (web, _):
        await web.client.post("/v1/sandboxes", json={"name": "box"})
        put = await web.client.put("/v1/sandboxes/box/files//tmp/%FFx", content=b"1")
        assert put.json()["href"].endswith("/files//tmp/%FFx")


async def test_hanging_up_cancels_a_one_shot() -> None:
    async with running() as (web, _):
        started, ended = anyio.Event(), anyio.Event()

        async def hang(call: Invocation) -> int:
            await call.stdout(b"x")
            started.set()
            try:
                await anyio.sleep_forever()
            finally:
                ended.set()
            return 0

        for path in ("/v1/run/stream", "/v1/run"):
            started, ended = anyio.Event(), anyio.Event()
            web.backend.script("hang", hang)

            async def ask(path: str = path) -> None:
                await web.client.post(path, json={"argv": ["hang"]})

            async with anyio.create_task_group() as group:
                group.start_soon(ask)
                await started.wait()
                group.cancel_scope.cancel()
            with anyio.fail_after(5):
                await ended.wait()


async def test_output_comes_as_it_is_written() -> None:
    async with running() as (web, _):
        go = anyio.Event()

        async def slow(call: Invocation) -> int:
            await call.stdout(b"one\n")
            await go.wait()
            return 0

        web.backend.script("slow", slow)
        async with web.client.stream("POST", "/v1/run/stream", json={"argv": ["slow"]}) as answer:
            text = ""
            async for piece in answer.aiter_text():
                text += piece
                if "one" in text:
                    go.set()
        assert events_of(text)[-1][1] == "exit"


async def test_a_drain_waits_for_one_shots_and_ends_followers() -> None:
    async with running(drain_s=5) as (web, _):
        started, go = anyio.Event(), anyio.Event()

        async def slow(_: Invocation) -> int:
            started.set()
            await go.wait()
            return 0

        web.backend.script("slow", slow)
        statuses: list[int] = []
        streams: list[str] = []

        async def ask() -> None:
            answer = await web.client.post("/v1/run", json={"argv": ["slow"]})
            statuses.append(answer.status_code)

        async def follow() -> None:
            headers = {"accept": "text/event-stream"}
            answer = await web.client.get("/v1/events?cursor=0", headers=headers)
            streams.append(answer.text)
            go.set()

        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            group.start_soon(ask)
            await started.wait()
            os.kill(os.getpid(), signal.SIGTERM)
        assert (statuses, len(streams)) == ([200], 1)


async def _raw(url: str, request: bytes) -> bytes:
    host, port = url.removeprefix("http://").split(":")
    async with await anyio.connect_tcp(host, int(port)) as stream:
        await stream.send(request)
        answer = b""
        with anyio.fail_after(5):
            try:
                while True:
                    answer += await stream.receive()
            except anyio.EndOfStream:
                return answer
            except anyio.BrokenResourceError:
                return answer


async def test_ten_thousand_headers() -> None:
    async with running() as (web, url):
        many = b"".join(b"x-%d: 1\r\n" % number for number in range(10_000))
        answer = await _raw(url, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n" + many + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert b"headers_too_large" in answer
        assert (await web.client.get("/healthz")).status_code == 200


async def test_what_is_not_http() -> None:
    async with running() as (_, url):
        answer = await _raw(url, b"\x00\x01nonsense\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in answer


async def test_slow_heads_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_S", 0.1)
    async with running() as (web, url):
        assert await _raw(url, b"GET /healthz HT") == b""
        assert await _raw(url, b"") == b""
        assert (await web.client.get("/healthz")).status_code == 200


async def test_slow_bodies_are_cut() -> None:
    async with running(body_timeout_s=0.2) as (_, url):
        head = b"POST /v1/run HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        answer = await _raw(url, head + b"content-length: 100\r\n\r\n{")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in answer


async def test_a_terminal_over_a_socket() -> None:
    async with running() as (web, url):
        await web.client.post("/v1/sandboxes", json={"name": "box"})
        body = {"argv": ["cat"], "stdin_open": True}
        await web.client.post("/v1/sandboxes/box/processes", json=body)
        socket_url = url.replace("http", "ws") + "/v1/sandboxes/box/processes"
        async with connect(f"{socket_url}/1/attach") as terminal:
            await terminal.send(b"hello\n")
            assert await terminal.recv() == b"hello\n"
            await terminal.send('{"type": "eof"}')
            assert '"exit"' in str(await terminal.recv())
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{socket_url}/7/attach")
        assert refused.value.response.status_code == 404


async def test_an_open_address_needs_a_key() -> None:
    async with served() as web:
        with bind("0.0.0.0", 0) as sockets, pytest.raises(Unavailable, match="no API key"):
            await run_server(web.app, web.settings, sockets)


def test_a_port_that_is_taken() -> None:
    with bind("127.0.0.1", 0) as sockets:
        port = sockets[0].getsockname()[1]
        with pytest.raises(Unavailable, match="something else listens"), bind("127.0.0.1", port):
            pass


def test_a_host_that_is_none() -> None:
    with pytest.raises(Unavailable, match="no address"), bind("no.such.host.invalid", 0):
        pass


@pytest.mark.parametrize("ignored", [False, True])
async def test_a_terminal_that_goes_away(ignored: bool) -> None:
    usual = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        async with running() as (web, url):
            os.kill(os.getpid(), signal.SIGHUP)
            if ignored:
                assert (await web.client.get("/healthz")).status_code == 200
                return
            with anyio.fail_after(10):
                while await _answers(url):
                    await anyio.sleep(0)
    finally:
        signal.signal(signal.SIGHUP, usual)


async def _answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(base_url=url, timeout=5) as client:
            return (await client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False
