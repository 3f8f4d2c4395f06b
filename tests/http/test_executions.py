import base64
import json
from typing import Any

import anyio
import pytest

from atoll.backends.fake import FakeBackend, Invocation
from tests.http.rig import Web, events_of, served

pytestmark = pytest.mark.anyio


async def test_execute(web: Web) -> None:
    answer = await web.client.post(
        "/v1/execute", json={"language": "bash", "code": "echo hi; echo ho >&2; exit 3"}
    )
    assert answer.status_code == 200
    body = answer.json()
    assert (body["stdout"], body["stderr"], body["exit_code"]) == ("hi\n", "ho\n", 3)
    assert (body["reason"], body["signal"], body["truncated"]) == ("exited", None, False)
    assert set(body["timings"]) == {"queue_ms", "open_ms", "run_ms", "total_ms"}
    assert set(body["usage"]) == {"wall_s", "cpu_s", "peak_memory_bytes"}
    assert body["backend"] == "fake"
    assert answer.headers["x-request-id"].startswith("req_")


async def test_run_argv_and_shell_line(web: Web) -> None:
    for body in ({"argv": ["echo", "a b"]}, {"command": "echo 'a b'"}):
        answer = await web.client.post("/v1/run", json=body)
        assert answer.json()["stdout"] == "a b\n"


async def test_everything_that_a_request_can_say(web: Web) -> None:
    answer = await web.client.post(
        "/v1/execute",
        json={
            "language": "bash",
            "files": {
                "main.sh": "cat data.bin; cat; echo $WHO",
                "data.bin": {"content": base64.b64encode(b"\0\xff").decode(), "encoding": "base64"},
            },
            "entry": "main.sh",
            "args": ["x"],
            "stdin": {"content": base64.b64encode(b"\xfe").decode(), "encoding": "base64"},
            "env": {"WHO": "me"},
            "timeout_s": 5,
            "limits": {"memory_bytes": 64 * 1024**2, "output_bytes": 1000, "cpu_s": 2},
            "profile": "restrictive",
            "min_isolation": "shared_kernel",
            "image": "host",
            "network": {"mode": "none"},
            "encoding": "base64",
        },
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["encoding"] == "base64"
    assert base64.b64decode(body["stdout"]) == b"\0\xff\xfeme\n"


async def test_text_is_marked_where_it_is_not_utf8(web: Web) -> None:
    answer = await web.client.post("/v1/run", json={"command": "printf 'a\\377b'"})
    assert answer.json()["stdout"] == "a\ufffdb"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/run", {"argv": ["true"], "tiemout_s": 1}, "tiemout_s"),
        ("/v1/run", {}, ""),
        ("/v1/run", {"argv": ["true"], "command": "true"}, ""),
        ("/v1/run", {"argv": []}, "argv"),
        ("/v1/run", {"argv": ["a\0b"]}, "argv.0"),
        ("/v1/run", {"argv": ["true"], "timeout_s": 0}, "timeout_s"),
        ("/v1/run", {"argv": ["true"], "timeout_s": "5"}, "timeout_s"),
        ("/v1/run", {"argv": ["true"], "timeout_s": 3601}, "timeout_s"),
        ("/v1/run", {"argv": ["true"], "limits": {"cpus": -1}}, "limits.cpus"),
        ("/v1/run", {"argv": ["true"], "limits": {"memory_bytes": 2**39}}, "limits.memory_bytes"),
        ("/v1/run", {"argv": ["true"], "limits": {"output_bytes": 2**29}}, "limits.output_bytes"),
        ("/v1/run", {"argv": ["true"], "env": {"1A": "x"}}, "env.1A"),
        ("/v1/run", {"argv": ["true"], "env": {"A": "\0"}}, "env.A"),
        ("/v1/run", {"argv": ["true"], "profile": "odd"}, "profile"),
        ("/v1/run", {"argv": ["true"], "backend": "odd"}, "backend"),
        ("/v1/run", {"argv": ["true"], "backend": "fake", "min_isolation": "interposed"}, ""),
        ("/v1/run", {"argv": ["true"], "image": "odd"}, "image"),
        ("/v1/run", {"argv": ["true"], "preload": ["numpy"]}, "preload"),
        ("/v1/run", {"argv": ["true"], "stdin": {"content": "?", "encoding": "base64"}}, "stdin"),
        ("/v1/run", {"argv": ["true"], "stdin": 5}, "stdin"),
        ("/v1/run", {"argv": ["true"], "files": {"../x": ""}}, "files"),
        ("/v1/execute", {"language": "odd", "code": "1"}, "language"),
        ("/v1/execute", {"language": "bash"}, ""),
        ("/v1/execute", {"language": "bash", "code": "a\0b"}, ""),
        ("/v1/execute", {"language": "bash", "files": {"a": "", "b": ""}, "entry": "c"}, "entry"),
        ("/v1/execute", [1], ""),
    ],
)
async def test_wrong_fields_are_named(web: Web, path: str, body: Any, field: str) -> None:
    answer = await web.client.post(path, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "invalid_request"
    assert problem.get("field", "").startswith(field), problem
    assert problem["detail"].endswith(".")


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"argv": ["\\ud800"]}', b'{"argv": ["\xff"]}', b'{"argv": }']
)
async def test_what_is_not_json(web: Web, body: bytes) -> None:
    answer = await web.client.post(
        "/v1/run", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert "JSON" in answer.json()["detail"]


async def test_media_type_is_needed(web: Web) -> None:
    for given in ({}, {"content-type": "text/plain"}):
        answer = await web.client.post("/v1/run", content=b'{"argv": ["true"]}', headers=given)
        assert answer.status_code == 415
        assert "application/json" in answer.json()["detail"]


async def test_other_refusals(web: Web) -> None:
    answer = await web.client.post(
        "/v1/run", json={"argv": ["true"], "min_isolation": "virtual_machine"}
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "unsupported")
    answer = await web.client.post(
        "/v1/run", json={"argv": ["true"], "network": {"mode": "internet"}}
    )
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    async with served(FakeBackend(why_not="nothing works")) as other:
        answer = await other.client.post("/v1/run", json={"argv": ["true"]})
    assert (answer.status_code, answer.json()["code"]) == (424, "unavailable")


async def test_full_is_429_with_retry_after() -> None:
    async with served(max_running=1, max_queued=0, pool_size=1) as web:
        started, go = anyio.Event(), anyio.Event()

        async def hold(_: Invocation) -> int:
            started.set()
            await go.wait()
            return 0

        web.backend.script("hold", hold)
        async with anyio.create_task_group() as group:

            async def first() -> None:
                answer = await web.client.post("/v1/run", json={"argv": ["hold"]})
                assert answer.status_code == 200

            group.start_soon(first)
            await started.wait()
            answer = await web.client.post("/v1/run", json={"argv": ["true"]})
            go.set()
    assert answer.status_code == 429
    assert answer.json()["retryable"] is True
    assert int(answer.headers["retry-after"]) >= 1


async def test_batch(web: Web) -> None:
    answer = await web.client.post(
        "/v1/batch",
        json={
            "requests": [
                {"argv": ["echo", "0"]},
                {"argv": []},
                {"language": "odd", "code": "1"},
                {"language": "bash", "code": "echo 3", "encoding": "base64"},
                {},
            ],
            "concurrency": 2,
        },
    )
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [each["index"] for each in results] == [0, 1, 2, 3, 4]
    assert results[0]["result"]["stdout"] == "0\n"
    assert results[3]["result"]["stdout"] == base64.b64encode(b"3\n").decode()
    assert [each["error"] and each["error"]["status"] for each in results] == [
        None, 422, 422, None, 422,
    ]  # fmt: skip


async def test_batch_is_bounded() -> None:
    async with served(max_batch=2) as web:
        answer = await web.client.post("/v1/batch", json={"requests": [{"argv": ["true"]}] * 3})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_stream(web: Web) -> None:
    answer = await web.client.post(
        "/v1/execute/stream", json={"language": "bash", "code": "echo hi; echo ho >&2; exit 4"}
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    assert [kind for _, kind, _ in events] == ["started", "stdout", "stderr", "exit"]
    assert [place for place, _, _ in events] == ["0", "3", "6", "6"]
    assert json.loads(events[1][2]) == {"data": "hi\n", "encoding": "utf-8"}
    end = json.loads(events[3][2])
    assert end["exit_code"] == 4
    assert "stdout" not in end


async def test_stream_of_a_bad_request_is_an_error_response(web: Web) -> None:
    answer = await web.client.post("/v1/execute/stream", json={"language": "odd", "code": "1"})
    assert answer.status_code == 422
    answer = await web.client.post("/v1/run/stream", json={"argv": ["no-such-program"]})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_stream_failing_half_way_ends_with_an_error_event(web: Web) -> None:
    async def die(call: Invocation) -> int:
        await call.stdout(b"so far\n")
        for sandbox_id in await web.backend.owned():
            web.backend.die(sandbox_id)
        await anyio.sleep_forever()
        return 0

    web.backend.script("die", die)
    answer = await web.client.post("/v1/run/stream", json={"argv": ["die"]})
    assert answer.status_code == 200
    events = events_of(answer.text)
    assert events[-1][1] in {"error", "exit"}
