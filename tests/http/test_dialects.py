"""What every dialect stands on: who gets a request, and that nothing odd leaves."""

import socket
from collections.abc import Iterator, MutableMapping
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from atoll.core.errors import AtollError, BackendFault, InvalidRequest
from atoll.http.dialect import Spoken, Switch, own_path
from atoll.http.errors import Refused
from atoll.http.middleware.tracked import Headers
from atoll.http.middleware.translated import Translated

pytestmark = pytest.mark.anyio


def _named(name: str) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(f"{name} {own_path(scope)}")(scope, receive, send)

    return app


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


async def test_the_switch(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    other = Spoken(name="other", app=_named("other"), sockets=[listener])
    switch = Switch(_named("native"), [Spoken(name="one", app=_named("one")), other])
    for url, said in {
        "http://127.0.0.1:8000/v1/x": "native /v1/x",
        "http://127.0.0.1:8000/one": "one /",
        "http://127.0.0.1:8000/one/a/b": "one /a/b",
        "http://127.0.0.1:8000/onething": "native /onething",
        "http://127.0.0.1:8000/other/x": "other /x",
        f"http://127.0.0.1:{port}/one/a": "other /one/a",
        f"http://127.0.0.1:{port}/": "other /",
    }.items():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(switch)) as client:
            assert (await client.get(url)).text == said, url


def _raising(error: Exception) -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise error

    return app


def _refuse(error: AtollError | None, _: Scope) -> Response:
    return PlainTextResponse("none" if error is None else f"{type(error).__name__}: {error.detail}")


def _headers(_: Scope, given: Headers) -> Headers:
    return [(b"x-given", str(len(given)).encode())]


@pytest.mark.parametrize(
    ("error", "text", "logged"),
    [
        (InvalidRequest("wrong"), "InvalidRequest: wrong", 0),
        (ExceptionGroup("", [InvalidRequest("wrong")]), "InvalidRequest: wrong", 0),
        (Refused(413, "large"), "Refused: large", 0),
        (HTTPException(404, "nothing"), "Refused: nothing", 0),
        (BackendFault("broken"), "BackendFault: broken", 1),
        (ValueError("secret"), "none", 1),
    ],
)
async def test_every_error_leaves_in_its_shape(
    error: Exception, text: str, logged: int, log: list[MutableMapping[str, Any]]
) -> None:
    app = Translated(
        _raising(error), dialect="x", refuse=_refuse, name=lambda: "id", headers=_headers
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
        answer = await client.get("http://localhost/")
    assert answer.text == text
    assert answer.headers["x-given"] == "2"
    assert len(log) == logged
