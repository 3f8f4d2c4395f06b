from contextlib import aclosing

import httpx
import pytest

from atoll.client import BackendFault, Finished, Output, Started, Unreachable
from tests.client.double import EXIT, PROCESS, SANDBOX, Chunks, Double, event

pytestmark = pytest.mark.anyio

STARTED = event("started", {"id": "sb_1", "backend": "namespace"}, 1)
FIRST = event("stdout", {"data": "aGkK", "encoding": "base64"}, 2)
LAST = event("exit", {"id": "sb_1", **EXIT}, 3)


def stream(*chunks: bytes, broken: bool = False) -> httpx.Response:
    return httpx.Response(200, stream=Chunks(*chunks, broken=broken))


def test_events_are_values() -> None:
    double = Double(stream(STARTED + FIRST[:9], FIRST[9:], b": keep-alive\n\n", LAST))
    with double.client() as atoll:
        started, output, finished = atoll.execute_stream("python", "print('hi')")
    assert started == Started("sb_1", None, "namespace")
    assert output == Output("stdout", b"hi\n", "2")
    assert isinstance(finished, Finished)
    assert finished.exit.ok


def test_a_one_shot_is_not_begun_again_when_its_line_breaks() -> None:
    double = Double(stream(STARTED, FIRST, broken=True))
    seen = []
    with double.client() as atoll, pytest.raises(Unreachable):
        for happened in atoll.execute_stream("python", "1"):
            seen.append(happened)  # noqa: PERF402 - what came before the break counts
    assert len(seen) == 2
    assert len(double.asked) == 1


def test_a_stream_that_ends_without_an_exit_is_broken() -> None:
    double = Double(stream(STARTED, FIRST))
    with double.client() as atoll, pytest.raises(Unreachable, match="early"):
        list(atoll.run_stream("true"))


def test_a_failure_in_the_stream_is_raised() -> None:
    wrong = {"status": 500, "code": "backend_fault", "detail": "It died."}
    double = Double(stream(STARTED, event("error", wrong, 2)))
    with double.client() as atoll, pytest.raises(BackendFault, match="It died"):
        list(atoll.run_stream("true"))


async def test_closing_the_generator_closes_the_connection() -> None:
    body = Chunks(STARTED, FIRST, LAST)
    double = Double(httpx.Response(200, stream=body))
    async with double.async_client() as atoll:
        async with aclosing(atoll.execute_stream("python", "1")) as events:
            async for _ in events:
                break
        assert body.closed


async def test_output_resumes_where_it_broke() -> None:
    again = event("stdout", {"data": "more", "encoding": "utf-8"}, 7)
    double = Double(
        httpx.Response(200, json=SANDBOX),
        httpx.Response(200, json=PROCESS),
        stream(event("stdout", {"data": "abc", "encoding": "utf-8"}, 3), broken=True),
        httpx.ConnectError("restarting"),
        stream(again),
        stream(event("exit", EXIT, 7)),
    )
    async with double.async_client() as atoll:
        sandbox = await atoll.sandboxes.get("notes")
        process = await sandbox.processes.get(3)
        seen = [each async for each in process.output()]
    pieces = [each.data for each in seen if isinstance(each, Output)]
    assert pieces == [b"abc", b"more"]
    assert isinstance(seen[-1], Finished)
    positions = [request.headers.get("last-event-id") for request in double.asked[2:]]
    assert positions == [None, "3", "3", "7"]
