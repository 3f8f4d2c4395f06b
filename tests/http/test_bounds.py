import math
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from starlette.types import Message

from atoll.http.errors import Refused
from atoll.http.middleware.bounds import Bounds
from atoll.settings import load
from tests.http.rig import Web, served

pytestmark = pytest.mark.anyio


async def test_large_bodies(web: Web) -> None:
    most = web.settings.max_body_bytes
    answer = await web.client.post("/v1/run", json={"command": "x" * most})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert answer.headers["connection"] == "close"


async def test_large_bodies_without_a_length() -> None:
    async with served(max_body_bytes=1000) as web:

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(10):
                yield b"x" * 500

        answer = await web.client.post(
            "/v1/run", content=chunks(), headers={"content-type": "application/json"}
        )
    assert answer.status_code == 413


async def test_code_of_ten_megabytes(web: Web) -> None:
    answer = await web.client.post(
        "/v1/execute", json={"language": "bash", "code": "#" * 10_000_000}
    )
    assert answer.status_code in {200, 413}


async def test_files_may_be_larger_than_bodies() -> None:
    async with served(max_body_bytes=1000, max_upload_bytes=5000) as web:
        await web.client.post("/v1/sandboxes", json={"name": "box"})
        url = "/v1/sandboxes/box/files/x"
        assert (await web.client.put(url, content=b"x" * 5000)).status_code == 200
        answer = await web.client.put(url, content=b"x" * 5001)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")

        async def chunks() -> AsyncIterator[bytes]:
            for _ in range(6):
                yield b"y" * 1000

        answer = await web.client.put(url, content=chunks())
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert (await web.client.get(url)).content == b"x" * 5000, "the old content stays"


async def test_many_and_large_headers(web: Web) -> None:
    many = [(f"x-{number}", "1") for number in range(1000)]
    answer = await web.client.get("/healthz", headers=many)
    assert (answer.status_code, answer.json()["code"]) == (431, "headers_too_large")
    answer = await web.client.get("/healthz", headers={"x-big": "1" * 70_000})
    assert answer.status_code == 431
    answer = await web.client.get("/healthz?" + "q" * 60_000, headers={"x-big": "1" * 6_000})
    assert answer.status_code == 431
    assert (await web.client.get("/healthz")).status_code == 200


async def _through(settings_s: float, pauses: list[float]) -> str:
    """What becomes of a body whose pieces come after these pauses."""
    settings = load({"body_timeout_s": settings_s, "body_min_rate": 1000}, environ={})
    sent = iter(pauses)

    async def receive() -> Message:
        pause = next(sent, None)
        if pause is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        await anyio.sleep(pause)  # waits on purpose: a slow client
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    async def app(_scope: object, receive: object, _send: object) -> None:
        while (await receive())["more_body"]:  # type: ignore[operator]
            pass

    async def send(_: Message) -> None:
        raise AssertionError

    bounds = Bounds(app, settings=settings, upload=lambda _: False)
    scope = {"type": "http", "headers": [], "method": "POST", "path": "/"}
    try:
        await bounds(scope, receive, send)
    except Refused as error:
        return f"{error.status} {error.close}"
    return "served"


async def test_slow_bodies() -> None:
    assert await _through(0.05, [math.inf]) == "408 True"
    assert await _through(0.05, [0.0, math.inf]) == "408 True"
    assert await _through(0.05, [0.08] * 3 + [math.inf]) == "408 True"
    assert await _through(0.05, [0.03] * 5) == "served"


async def test_a_request_id_that_is_a_word_is_kept(web: Web) -> None:
    kept = await web.client.get("/healthz", headers={"x-request-id": "abc-12345"})
    assert kept.headers["x-request-id"] == "abc-12345"
    for odd in ("short", "a" * 65, 'x"><script>'):
        made = await web.client.get("/healthz", headers={"x-request-id": odd})
        assert made.headers["x-request-id"].startswith("req_")


async def test_404_and_405(web: Web) -> None:
    answer = await web.client.get("/v1/nothing")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = await web.client.delete("/v1/run")
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


async def test_our_failure_shows_nothing(web: Web, log: list[dict[str, Any]]) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("secret detail")

    web.services.backends.reports = explode  # type: ignore[method-assign,assignment]
    answer = await web.client.get("/v1/backends")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text
    assert answer.json()["instance"].endswith(answer.headers["x-request-id"])
    [entry] = log
    assert (entry["path"], str(entry["exc_info"])) == ("/v1/backends", "secret detail")
    assert entry["request_id"] == answer.headers["x-request-id"]
