import httpx
import pytest

from atoll.client import BackendFault, Code, Command, Result
from tests.client.double import PROCESS, RESULT, SANDBOX, Double

pytestmark = pytest.mark.anyio


def test_execute_sends_what_was_given_and_nothing_else() -> None:
    double = Double(httpx.Response(200, json=RESULT))
    with double.client("atoll_key") as atoll:
        result = atoll.execute(
            "python",
            "print(2)",
            args=("a", "b"),
            stdin=b"\xff",
            files={"data.bin": b"\0", "note": "hi"},
            timeout_s=5,
            limits={"memory_bytes": 1 << 20},
            network={"mode": "allow", "allow": ("example.org",)},
            min_isolation="interposed",
        )
    assert double.asked[0].url.path == "/v1/execute"
    assert double.asked[0].headers["x-api-key"] == "atoll_key"
    assert double.body() == {
        "language": "python",
        "code": "print(2)",
        "encoding": "base64",
        "args": ["a", "b"],
        "stdin": {"content": "/w==", "encoding": "base64"},
        "files": {"data.bin": {"content": "AA==", "encoding": "base64"}, "note": "hi"},
        "timeout_s": 5,
        "limits": {"memory_bytes": 1 << 20},
        "network": {"mode": "allow", "allow": ["example.org"]},
        "min_isolation": "interposed",
    }
    assert (result.stdout, result.exit_code, result.reason) == ("2\n", 0, "exited")
    assert result.timings["total_ms"] == 1.5
    assert result.exit.usage.peak_memory_bytes == 4096


def test_the_wait_for_an_answer_follows_the_programs_time() -> None:
    double = Double(httpx.Response(200, json=RESULT))
    with double.client() as atoll:
        atoll.run(["sleep", "600"], timeout_s=700)
    assert double.asked[0].extensions["timeout"]["read"] > 700


@pytest.mark.parametrize(
    ("command", "sent"),
    [("ls | wc", {"command": "ls | wc"}), (("ls", "-l"), {"argv": ["ls", "-l"]})],
)
def test_a_string_is_a_line_and_a_sequence_is_not(command: str, sent: dict[str, object]) -> None:
    double = Double(httpx.Response(200, json=RESULT))
    with double.client() as atoll:
        atoll.run(command)
    assert double.body() == {**sent, "encoding": "base64"}


def test_a_batch_keeps_order_and_failures_are_values() -> None:
    wrong = {"status": 500, "code": "backend_fault", "detail": "It died.", "retryable": True}
    items = [
        {"index": 0, "result": RESULT, "error": None},
        {"index": 1, "result": None, "error": wrong},
    ]
    double = Double(httpx.Response(200, json={"results": items}))
    with double.client() as atoll:
        first, second = atoll.batch([Code("python", "1"), Command("true")], concurrency=2)
    assert isinstance(first, Result)
    assert isinstance(second, BackendFault)
    assert second.detail == "It died."


def test_none_is_never_and_absent_is_the_default() -> None:
    double = Double(httpx.Response(201, json=SANDBOX))
    with double.client() as atoll:
        atoll.sandboxes.create(idle_timeout_s=None)
    assert double.body() == {"idle_timeout_s": None}


def test_a_sandbox_is_destroyed_at_the_end_of_its_block() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            return httpx.Response(200, json={**SANDBOX, "state": "destroyed"})
        return httpx.Response(201, json=SANDBOX)

    double = Double(answer)
    with (
        double.client() as atoll,
        pytest.raises(ZeroDivisionError),
        atoll.sandboxes.create() as sandbox,
    ):
        assert sandbox.name == "notes"
        raise ZeroDivisionError
    assert [request.method for request in double.asked] == ["POST", "DELETE"]


def test_lists_go_on_over_pages() -> None:
    double = Double(
        httpx.Response(200, json={"items": [SANDBOX], "next_cursor": "sb_1"}),
        httpx.Response(200, json={"items": [{**SANDBOX, "id": "sb_2"}], "next_cursor": None}),
    )
    with double.client() as atoll:
        found = [each.id for each in atoll.sandboxes.list(labels={"team": "blue"})]
    assert found == ["sb_1", "sb_2"]
    assert double.asked[0].url.query == b"label=team%3Dblue&limit=100"
    assert b"cursor=sb_1" in double.asked[1].url.query


async def test_a_process_is_started_fed_and_waited_for() -> None:
    ended = {**PROCESS, "exit": {"exit_code": 3, "reason": "exited"}}
    double = Double(
        httpx.Response(201, json=SANDBOX),
        httpx.Response(201, json=PROCESS),
        httpx.Response(204),
        httpx.Response(200, json=PROCESS),
        httpx.Response(200, json=ended),
    )
    async with double.async_client() as atoll:
        sandbox = await atoll.sandboxes.create()
        process = await sandbox.processes.start(["sh"], tty=(24, 80), stdin_open=True)
        assert double.body() == {
            "argv": ["sh"],
            "encoding": "base64",
            "tty": {"rows": 24, "cols": 80},
            "stdin_open": True,
        }
        await process.write_stdin("exit 3\n", close=True)
        assert double.asked[-1].content == b"exit 3\n"
        assert double.asked[-1].url.query == b"close=true"
        assert (await process.wait()).exit_code == 3
    assert len(double.asked) == 5


def test_events_are_chosen_by_the_server() -> None:
    double = Double(httpx.Response(200, json={"items": [], "next_cursor": "7"}))
    with double.client() as atoll:
        page = atoll.events(sandbox="sb_1", actions=("run", "sandbox.*"), since=1.5)
    assert page.next_cursor == "7"
    query = double.asked[0].url.params.multi_items()
    assert query == [
        ("limit", "100"),
        ("sandbox", "sb_1"),
        ("action", "run"),
        ("action", "sandbox.*"),
        ("since", "1.5"),
    ]
