import httpx
import pytest

from atoll import client
from atoll.client.errors import Problem, problem_from
from tests.client.double import Chunks, Double, problem


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (422, "invalid_request", client.InvalidRequest),
        (401, "unauthenticated", client.Unauthenticated),
        (403, "forbidden", client.Forbidden),
        (404, "not_found", client.NotFound),
        (410, "gone", client.Gone),
        (409, "conflict", client.Conflict),
        (412, "precondition_failed", client.PreconditionFailed),
        (413, "too_large", client.TooLarge),
        (403, "quota_exceeded", client.QuotaExceeded),
        (429, "busy", client.Busy),
        (422, "unsupported", client.Unsupported),
        (424, "unavailable", client.Unavailable),
        (500, "backend_fault", client.BackendFault),
        (500, "something_new", client.Problem),
    ],
)
def test_each_code_has_its_class(status: int, code: str, kind: type[Problem]) -> None:
    double = Double(problem(status, code, field="limits.cpus", retryable=False))
    with double.client() as atoll, pytest.raises(Problem) as caught:
        atoll.execute("python", "1")
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.status == status
    assert caught.value.field == "limits.cpus"
    assert caught.value.detail == f"It is {code}."


@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"[1]", b"\xff\xfe"])
def test_an_answer_that_is_not_ours_is_a_problem_too(body: bytes) -> None:
    found = problem_from(502, {}, body)
    assert found.code == "http_502"
    assert found.retryable
    assert found.detail


def test_retry_after_is_read() -> None:
    answer = httpx.Response(429, headers={"retry-after": "3"}, json={"code": "busy"})
    assert problem_from(429, answer.headers, answer.content).retry_after_s == 3


@pytest.mark.parametrize(
    ("url", "key"), [("localhost:8000", None), ("ftp://x", None), ("http://x", "schl\u00fcssel")]
)
def test_what_cannot_be_an_address_or_a_key_is_said_at_once(url: str, key: str | None) -> None:
    with pytest.raises(client.AtollError):
        client.Atoll(url, key)


def test_a_success_that_is_not_json_is_an_error_of_ours() -> None:
    double = Double(httpx.Response(200, content=b"<html>"))
    with double.client() as atoll, pytest.raises(client.AtollError, match="not JSON"):
        atoll.languages()


def test_an_event_that_is_not_json_is_too() -> None:
    double = Double(httpx.Response(200, stream=Chunks(b"event: started\ndata: {\n\n")))
    with double.client() as atoll, pytest.raises(client.AtollError, match="not JSON"):
        list(atoll.run_stream("true"))
