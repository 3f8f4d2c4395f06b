"""Servers in real sandboxes, reached through a real server; honest ones and hostile ones."""

import hashlib
import json
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from atoll.client import AsyncAtoll, AsyncSandbox, Output
from tests.e2e.server import ATOLL, Server, serving

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

PROGRAM = (Path(__file__).parent / "guest_server.py").read_text()
LIMIT_S = 30.0


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits for guests only a little."""
    folder = tmp_path_factory.mktemp("ports")
    config = folder / "atoll.toml"
    config.write_text("port_answer_s = 1.5\nport_idle_s = 1.5\n")
    with serving(folder / "data", "--config", str(config)) as running:
        yield running


@pytest.fixture(scope="module")
async def box(patient: Server, anyio_backend: str) -> AsyncGenerator[AsyncSandbox]:
    """A sandbox in which all of the servers listen; 9999 is not declared."""
    del anyio_backend
    async with AsyncAtoll(patient.url) as atoll:
        box = await atoll.sandboxes.create(name="box", ports=[8080, 8081, 8082, 7000])
        await box.files.write("server.py", PROGRAM)
        process = await box.processes.start(["python3", "server.py"], timeout_s=600)
        assert isinstance(await anext(process.output()), Output)
        yield box
        await box.destroy()


@pytest.fixture(scope="module")
async def web(patient: Server, box: AsyncSandbox) -> AsyncGenerator[httpx.AsyncClient]:
    """Asks at the sandbox's ports: `/8080/…`."""
    base = f"{patient.url}/v1/sandboxes/{box.id}/ports"
    async with httpx.AsyncClient(base_url=base, timeout=LIMIT_S) as client:
        yield client


async def problem(web: httpx.AsyncClient, path: str) -> tuple[int, str]:
    answer = await web.get(path)
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert "x-atoll-guest" not in answer.headers
    return answer.status_code, answer.json()["detail"]


# honest ones
@pytest.mark.parametrize(
    "method", ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "PROPFIND"]
)
async def test_every_method(web: httpx.AsyncClient, method: str) -> None:
    answer = await web.request(method, "/8080/a%2Fb//c?x=%20y&x=2")
    assert answer.status_code == 200
    assert answer.headers["x-atoll-guest"] == "8080"
    assert "sandbox" in answer.headers["content-security-policy"]
    if method == "HEAD":
        assert answer.content == b""
        return
    seen = answer.json()
    assert (seen["method"], seen["path"]) == (method, "/a%2Fb//c?x=%20y&x=2")
    assert seen["headers"]["host"] == "localhost:8080"


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_bodies_in(web: httpx.AsyncClient, chunked: bool) -> None:
    data = bytes(range(256)) * 100_000

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 1_000_003):
            yield data[start : start + 1_000_003]

    answer = await web.post("/8080/", content=pieces() if chunked else data)
    seen = answer.json()
    assert (seen["size"], seen["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


async def test_large_bodies_out_come_as_they_are_made(web: httpx.AsyncClient) -> None:
    size = 0
    async with web.stream("GET", "/8080/big") as answer:
        assert answer.headers["content-length"] == str(64 << 20)
        async for piece in answer.aiter_raw():
            size += len(piece)
    assert size == 64 << 20


async def test_a_stream_is_not_gathered(web: httpx.AsyncClient) -> None:
    came: list[float] = []
    async with web.stream("GET", "/8080/ticks") as answer:
        async for _ in answer.aiter_raw():
            came.append(time.monotonic())
    assert len(came) == 3
    assert came[2] - came[0] > 0.4


async def test_a_client_that_hangs_up_ends_the_connection(web: httpx.AsyncClient) -> None:
    async with web.stream("GET", "/8080/big") as answer:
        async for _ in answer.aiter_raw():
            break
    assert (await web.get("/8080/")).status_code == 200


async def test_credentials_and_cookies_stay_apart(web: httpx.AsyncClient) -> None:
    answer = await web.get("/8080/", headers={"cookie": "a=b", "x-atoll-guest-cookie": "c=d"})
    assert answer.json()["headers"]["cookie"] == "c=d"
    moved = await web.get("/8080/elsewhere")
    assert moved.headers["location"] == f"{web.base_url.path.rstrip('/')}/8080/there"
    assert "set-cookie" not in moved.headers
    assert moved.headers["x-atoll-guest-set-cookie"] == "atoll_session=forged"


async def test_an_answer_of_http_1_0(web: httpx.AsyncClient) -> None:
    assert (await web.get("/8081/old")).text == "to the end"


# ports
async def test_nothing_listens(web: httpx.AsyncClient) -> None:
    status, detail = await problem(web, "/7000/")
    assert (status, "No program listens on port 7000" in detail) == (502, True)


async def test_only_declared_ports_are_reached(web: httpx.AsyncClient, box: AsyncSandbox) -> None:
    inside = "import socket; socket.create_connection(('127.0.0.1', 9999)).send(b'x')"
    assert (await box.exec(["python3", "-c", inside])).exit.exit_code == 0
    status, detail = await problem(web, "/9999/")
    assert status == 404
    assert "has not declared port 9999 (declared: 8080, 8081, 8082, 7000)" in detail


async def test_another_sandboxs_ports_are_not_reached(patient: Server, box: AsyncSandbox) -> None:
    async with (
        AsyncAtoll(patient.url) as atoll,
        await atoll.sandboxes.create(ports=[8080]) as other,
    ):
        async with httpx.AsyncClient(timeout=LIMIT_S) as client:
            assert (await client.get(box.url(8080))).status_code == 200
            assert (await client.get(other.url(8080))).status_code == 502
        look = "import socket; print(socket.socket().connect_ex(('127.0.0.1', 8080)))"
        assert (await other.exec(["python3", "-c", look])).stdout != "0\n"


async def test_another_tenant_finds_nothing(patient: Server, box: AsyncSandbox) -> None:
    async with AsyncAtoll(patient.url) as atoll:
        key = (await atoll.keys.create("blue", tenant="blue")).key
    async with httpx.AsyncClient(headers={"x-api-key": str(key)}, timeout=LIMIT_S) as client:
        assert (await client.get(box.url(8080))).status_code == 404
        assert (await client.get(f"{patient.url}/v1/languages")).status_code == 200


async def test_a_page_of_another_site_is_refused(web: httpx.AsyncClient) -> None:
    assert (await web.get("/8080/", headers={"origin": "http://evil.example"})).status_code == 403
    assert (await web.get("/8080/", headers={"origin": "null"})).status_code == 403


# hostile ones
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("silent", 504), ("slow-loris", 504), ("continue-for-ever", 502), ("endless-headers", 502),
        ("giant-header", 502), ("endless-status", 502), ("split", 502), ("two-lengths", 502),
        ("switch", 502), ("odd-status", 502), ("junk", 502), ("hang-up", 502),
    ],
)  # fmt: skip
async def test_a_bad_answer_is_a_problem(web: httpx.AsyncClient, path: str, status: int) -> None:
    began = time.monotonic()
    found, detail = await problem(web, f"/8081/{path}")
    assert (found, "8081" in detail) == (status, True), detail
    assert time.monotonic() - began < LIMIT_S / 2


@pytest.mark.parametrize("path", ["short", "stalls", "endless-chunk"])
async def test_a_broken_body_is_broken_off(web: httpx.AsyncClient, path: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await web.get(f"/8081/{path}")


async def test_what_follows_an_answer_is_not_passed_on(web: httpx.AsyncClient) -> None:
    answer = await web.get("/8081/two-answers")
    assert (answer.status_code, answer.text) == (200, "ok")


async def test_the_log_does_not_tell_of_guests_faults(
    web: httpx.AsyncClient, patient: Server
) -> None:
    before = len(patient.printed.read_bytes())
    await problem(web, "/8081/junk")
    assert len(patient.printed.read_bytes()) == before


# WebSockets
def address(box: AsyncSandbox, port: int, path: str = "") -> str:
    return "ws" + box.url(port).removeprefix("http") + path


async def test_a_websocket(box: AsyncSandbox) -> None:
    with anyio.fail_after(LIMIT_S):
        async with connect(address(box, 8080, "ws?x=1"), subprotocols=["a", "b"]) as line:  # type: ignore[list-item]
            assert line.subprotocol == "b"
            for message in ("text é", b"\x00\xff", "", b"y" * 1_000_000):
                await line.send(message)
                assert await line.recv() == message
            await line.send("ping")
            assert await line.recv() == "pong are you there"


async def test_either_side_closes_a_websocket(box: AsyncSandbox) -> None:
    with anyio.fail_after(LIMIT_S):
        async with connect(address(box, 8080)) as line:
            await line.send("close")
            with pytest.raises(ConnectionClosed) as closed:
                await line.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4321, "done")
        async with connect(address(box, 8080)) as line:
            await line.close(4999)


async def test_too_large_a_message_ends_a_websocket(box: AsyncSandbox) -> None:
    with anyio.fail_after(LIMIT_S):
        async with connect(address(box, 8080), max_size=None) as line:
            await line.send("big")
            with pytest.raises(ConnectionClosed) as closed:
                await line.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
    ("port", "path", "status"),
    [
        (7000, "", 502), (9999, "", 404), (8081, "junk", 502), (8081, "hang-up", 502),
        (8081, "silent", 504), (8081, "giant-header", 502), (8081, "old", 502),
        (8081, "slow-loris", 504),
    ],
)  # fmt: skip
async def test_a_websocket_that_is_not_taken(
    box: AsyncSandbox, port: int, path: str, status: int
) -> None:
    with anyio.fail_after(LIMIT_S), pytest.raises(InvalidStatus) as refused:
        async with connect(address(box, port, path)):
            pass
    answer = refused.value.response
    assert answer.status_code == status
    assert json.loads(answer.body or b"")["status"] == status


# bare connections
async def test_a_bare_connection(box: AsyncSandbox) -> None:
    data = bytes(range(256)) * 20_000
    with anyio.fail_after(LIMIT_S):
        async with box.connect(8082) as line:

            async def send() -> None:
                await line.send(data)
                await line.end()

            async with anyio.create_task_group() as group:
                group.start_soon(send)
                came = b""
                while part := await line.receive():
                    came += part
    assert came == data + b"bye"


async def test_a_client_that_breaks_off_is_no_error(box: AsyncSandbox, patient: Server) -> None:
    before = len(patient.printed.read_bytes())
    with anyio.fail_after(LIMIT_S):
        for url in (address(box, 8080), address(box, 8082).replace("/ports/", "/connect/")[:-1]):
            line = await connect(url)
            for _ in range(64):
                await line.send(b"x" * 60_000)
            line.transport.abort()
            await line.wait_closed()
        async with connect(address(box, 8080)) as line:
            await line.send("still there")
            assert await line.recv() == "still there"
    assert patient.printed.read_bytes()[before:] == b""


async def test_open_connections_end_when_the_server_does(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as running:
        async with AsyncAtoll(running.url) as atoll:
            box = await atoll.sandboxes.create(ports=[8080, 8082])
            await box.files.write("server.py", PROGRAM)
            process = await box.processes.start(["python3", "server.py"], timeout_s=600)
            assert isinstance(await anext(process.output()), Output)
            with anyio.fail_after(LIMIT_S):
                one = await connect(address(box, 8080))
                other = await connect(address(box, 8082).replace("/ports/", "/connect/")[:-1])
                await other.send(b"x")
                assert await other.recv() == b"x"
                began = time.monotonic()
                running.process.send_signal(signal.SIGINT)
                for line in (one, other):
                    with pytest.raises(ConnectionClosed) as closed:
                        await line.recv()
                    assert closed.value.rcvd is not None
                    assert closed.value.rcvd.code == 1012
                while running.process.poll() is None:
                    await anyio.sleep(0.02)  # waits on purpose: another process ends
        assert running.process.returncode == 0
        assert time.monotonic() - began < LIMIT_S / 2


async def test_the_command_forwards_a_port(patient: Server, box: AsyncSandbox) -> None:
    argv = [str(ATOLL), "--url", patient.url, "sandbox", "port", "box", "8080"]
    async with await anyio.open_process(argv, stdin=None) as process:
        try:
            with anyio.fail_after(LIMIT_S):
                assert process.stdout is not None
                said = (await process.stdout.receive()).decode()
                assert f"is port 8080 of {box.id}" in said
                here = said.split(" ")[0]
                async with httpx.AsyncClient(timeout=LIMIT_S) as client:
                    for _ in range(2):
                        answer = await client.post(f"http://{here}/x", headers={"cookie": "a=b"})
                        assert answer.json()["headers"]["cookie"] == "a=b"
                async with connect(f"ws://{here}/") as line:
                    await line.send("hello")
                    assert await line.recv() == "hello"
        finally:
            process.kill()
