"""The short way past the router: the same answers as the long one, and only for what it is for."""

import pytest
from fastapi.routing import APIRoute

from atoll.http.direct import Direct
from atoll.http.v1 import executions

pytestmark = pytest.mark.anyio


class Long:
    """What is behind: counts what comes through."""

    def __init__(self) -> None:
        self.came: list[str] = []

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        assert isinstance(scope, dict)
        self.came.append(f"{scope.get('method', scope['type'])} {scope.get('path', '')}")


def test_hot_are_the_two_one_shots() -> None:
    assert set(executions.hot()) == {"/v1/execute", "/v1/run"}
    assert all(isinstance(route, APIRoute) for route in executions.hot().values())


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "http", "method": "GET", "path": "/v1/execute"},
        {"type": "http", "method": "POST", "path": "/v1/execute/stream"},
        {"type": "http", "method": "POST", "path": "/v1/execute/"},
        {"type": "websocket", "path": "/v1/execute"},
        {"type": "lifespan"},
    ],
)
async def test_everything_else_goes_the_long_way(scope: dict[str, object]) -> None:
    behind = Long()

    async def receive() -> dict[str, object]:
        pytest.fail("Nothing was read.")

    async def send(message: object) -> None:
        pytest.fail(f"Nothing was answered, not {message}.")

    await Direct(behind, routes=executions.hot())(scope, receive, send)
    assert len(behind.came) == 1
