import httpx
import pytest

from atoll.client import Atoll, AtollError, Busy, Problem, Retry, Unreachable
from tests.client.double import RESULT, SANDBOX, Double, problem

pytestmark = pytest.mark.anyio


def test_a_busy_server_is_asked_again() -> None:
    double = Double(problem(429, "busy", retryable=True), httpx.Response(200, json=RESULT))
    with double.client() as atoll:
        assert atoll.execute("python", "1").stdout == "2\n"
    assert len(double.asked) == 2


def test_it_gives_up_with_the_last_problem() -> None:
    double = Double(problem(429, "busy", retryable=True))
    with double.client() as atoll, pytest.raises(Busy):
        atoll.execute("python", "1")
    assert len(double.asked) == 4


def test_what_is_not_retryable_is_final() -> None:
    double = Double(problem(422, "invalid_request", retryable=False))
    with double.client() as atoll, pytest.raises(Problem):
        atoll.execute("python", "1")
    assert len(double.asked) == 1


def test_creates_are_sent_again_with_the_same_key() -> None:
    double = Double(
        httpx.ReadError("broke"), httpx.ConnectError("no"), httpx.Response(201, json=SANDBOX)
    )
    with double.client() as atoll:
        atoll.sandboxes.create(name="notes")
        atoll.sandboxes.create(name="notes")
    keys = [request.headers["idempotency-key"] for request in double.asked]
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]


def test_a_run_that_may_have_happened_is_not_repeated() -> None:
    double = Double(httpx.ReadError("broke"), httpx.Response(200, json=RESULT))
    with double.client() as atoll, pytest.raises(Unreachable) as caught:
        atoll.execute("python", "1")
    assert caught.value.sent
    assert len(double.asked) == 1


def test_a_run_that_never_left_is_repeated() -> None:
    double = Double(httpx.ConnectError("refused"), httpx.Response(200, json=RESULT))
    with double.client() as atoll:
        assert atoll.execute("python", "1").ok


async def test_the_async_side_does_the_same() -> None:
    double = Double(problem(500, "backend_fault", retryable=True), httpx.Response(200, json=RESULT))
    async with double.async_client() as atoll:
        assert (await atoll.execute("python", "1")).stdout == "2\n"
    assert len(double.asked) == 2


def test_attempts_do_not_multiply() -> None:
    double = Double(httpx.ConnectError("refused"))
    with double.client() as atoll, pytest.raises(Unreachable):
        atoll.languages()
    assert len(double.asked) == 4


def test_nobody_listens() -> None:
    with (
        Atoll("http://127.0.0.1:9", retry=Retry(attempts=1)) as atoll,
        pytest.raises(Unreachable, match=r"127\.0\.0\.1:9") as caught,
    ):
        atoll.execute("python", "1")
    assert not caught.value.sent


def test_waits_double_and_are_bounded() -> None:
    retry = Retry(attempts=20, first_s=0.1)
    failure = AtollError("again", retryable=True)
    waits = [retry.wait_s(failure, attempt, repeatable=True) or 0 for attempt in range(1, 20)]
    assert 0.075 <= waits[0] <= 0.125
    assert 0.15 <= waits[1] <= 0.25
    assert waits[-1] == 30
    assert retry.wait_s(failure, 20, repeatable=True) is None


def test_the_servers_own_guess_is_the_least() -> None:
    busy = Busy("full", code="busy", status=429, retryable=True, retry_after_s=2)
    assert Retry().wait_s(busy, 1, repeatable=False) == 2
