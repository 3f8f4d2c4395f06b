import json

import anyio
import pytest

from atoll.backends.fake import Invocation
from tests.http.rig import Web, events_of

pytestmark = pytest.mark.anyio
BOX = "/v1/sandboxes/box"


@pytest.fixture
async def box(web: Web) -> Web:
    """A server with a sandbox."""
    answer = await web.client.post("/v1/sandboxes", json={"name": "box"})
    assert answer.status_code == 201
    return web


async def test_exec(box: Web) -> None:
    answer = await box.client.post(
        f"{BOX}/exec",
        json={"command": "cat; echo $A >&2; exit 2", "stdin": "in", "env": {"A": "b"}},
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["stdout"], body["stderr"], body["exit_code"]) == ("in", "b\n", 2)
    assert body["timings"]["total_ms"] >= body["timings"]["run_ms"]
    assert (body["backend"], body["id"][:3]) == ("fake", "sb_")


async def test_exec_in_a_language(box: Web) -> None:
    code = {"language": "bash", "code": "echo code"}
    assert (await box.client.post(f"{BOX}/exec", json=code)).json()["stdout"] == "code\n"
    await box.client.put(f"{BOX}/files/there.sh", content=b"echo there")
    there = {"language": "bash", "entry": "there.sh"}
    assert (await box.client.post(f"{BOX}/exec", json=there)).json()["stdout"] == "there\n"


async def test_exec_stream(box: Web) -> None:
    answer = await box.client.post(f"{BOX}/exec/stream", json={"command": "echo a; exit 5"})
    kinds = [kind for _, kind, _ in events_of(answer.text)]
    assert kinds == ["started", "stdout", "exit"]
    assert json.loads(events_of(answer.text)[0][2])["pid"] == 1
    assert json.loads(events_of(answer.text)[2][2])["exit_code"] == 5


async def test_the_log_of_one_that_runs_and_of_one_that_has_ended(box: Web) -> None:
    lines = "echo one; echo two >&2; read line; echo three"
    started = await box.client.post(f"{BOX}/processes", json={"command": lines, "stdin_open": True})
    where = f"{BOX}/processes/{started.json()['pid']}"
    with anyio.fail_after(10):
        while (await box.client.get(f"{where}/log?channel=stderr")).content != b"two\n":
            await anyio.sleep(0.01)  # waits on purpose: for the program
    assert (await box.client.get(f"{where}/log?channel=stdout")).content == b"one\n"
    await box.client.post(f"{where}/stdin?close=true", content=b"\n")
    assert (await box.client.post(f"{where}/wait")).json()["exit"]["exit_code"] == 0
    await box.client.post(f"{BOX}/stop")
    assert (await box.client.get(f"{where}/log?channel=stdout")).content == b"one\nthree\n"
    assert len((await box.client.get(f"{where}/log")).content) == 14
    tail = await box.client.get(f"{where}/log?channel=stdout&tail_bytes=6")
    assert (tail.content, tail.headers["content-type"]) == (b"three\n", "application/octet-stream")
    assert (await box.client.get(f"{where}/log?tail_bytes=0")).status_code == 422
    assert (await box.client.get(f"{BOX}/processes/99/log")).status_code == 404


async def test_wrong_programs(box: Web) -> None:
    for body in (
        {},
        {"argv": ["true"], "language": "bash", "code": "1"},
        {"argv": ["true"], "code": "1"},
        {"language": "bash"},
        {"argv": ["no-such-program"]},
        {"argv": ["true"], "timeout_s": 1e6},
    ):
        for path in ("exec", "exec/stream", "processes"):
            answer = await box.client.post(f"{BOX}/{path}", json=body)
            assert answer.status_code == 422, (path, body, answer.text)
    assert (
        await box.client.post("/v1/sandboxes/none/exec", json={"argv": ["true"]})
    ).status_code == 404


async def test_background_process_and_its_output(box: Web) -> None:
    started = await box.client.post(f"{BOX}/processes", json={"argv": ["cat"], "stdin_open": True})
    assert started.status_code == 201, started.text
    pid = started.json()["pid"]
    one = f"{BOX}/processes/{pid}"
    assert (await box.client.get(one)).json()["exit"] is None
    assert (await box.client.post(f"{one}/stdin", content="héllo ".encode())).status_code == 204
    closed = await box.client.post(f"{one}/stdin?close=true", content=b"you\n")
    assert closed.status_code == 204
    ended = (await box.client.post(f"{one}/wait")).json()
    assert ended["exit"]["exit_code"] == 0
    events = events_of((await box.client.get(f"{one}/output")).text)
    text = "".join(json.loads(data)["data"] for _, kind, data in events if kind == "stdout")
    assert text == "héllo you\n"
    assert events[-1][1] == "exit"
    resumed = await box.client.get(f"{one}/output", headers={"Last-Event-ID": "7"})
    rest = [
        json.loads(data)["data"] for _, kind, data in events_of(resumed.text) if kind == "stdout"
    ]
    assert "".join(rest) == "you\n"
    by_position = await box.client.get(f"{one}/output?position=7&encoding=base64")
    assert json.loads(events_of(by_position.text)[0][2])["encoding"] == "base64"
    late = await box.client.post(f"{one}/stdin", content=b"x")
    assert (late.status_code, late.json()["code"]) == (409, "conflict")


async def test_stdin_of_the_request(box: Web) -> None:
    body = {"argv": ["cat"], "stdin": "abc"}
    pid = (await box.client.post(f"{BOX}/processes", json=body)).json()["pid"]
    answer = await box.client.get(f"{BOX}/processes/{pid}/output?channel=stdout")
    assert json.loads(events_of(answer.text)[0][2])["data"] == "abc"
    large = await box.client.post(f"{BOX}/processes", json={"argv": ["cat"], "stdin": "x" * 70_000})
    assert (large.status_code, large.json()["field"]) == (413, "stdin")


async def test_signal_kill_list(box: Web) -> None:
    for _ in range(2):
        await box.client.post(f"{BOX}/processes", json={"argv": ["sleep", "60"]})
    sent = await box.client.post(f"{BOX}/processes/1/signal", json={"signal": "SIGTERM"})
    assert sent.status_code == 204
    ended = (await box.client.post(f"{BOX}/processes/1/wait?timeout_s=5")).json()["exit"]
    assert (ended["reason"], ended["signal"], ended["exit_code"]) == ("signal", 15, None)
    killed = (await box.client.delete(f"{BOX}/processes/2")).json()
    assert killed["exit"]["signal"] == 9
    listed = (await box.client.get(f"{BOX}/processes")).json()["items"]
    assert [each["pid"] for each in listed] == [1, 2]
    again = await box.client.post(f"{BOX}/processes/1/signal", json={"signal": 15})
    assert again.status_code == 409
    for wrong in ({"signal": 0}, {"signal": 65}, {"signal": "SIGODD"}, {}):
        answer = await box.client.post(f"{BOX}/processes/1/signal", json=wrong)
        assert answer.status_code == 422
    for pid in ("9", "0", "x"):
        answer = await box.client.get(f"{BOX}/processes/{pid}")
        assert answer.status_code == (404 if pid == "9" else 422)


async def test_wait_that_is_too_short(box: Web) -> None:
    await box.client.post(f"{BOX}/processes", json={"argv": ["sleep", "60"]})
    answer = await box.client.post(f"{BOX}/processes/1/wait?timeout_s=0.01")
    assert answer.json()["exit"] is None
    following = await box.client.get(f"{BOX}/processes/1/output?follow=false")
    assert events_of(following.text) == []


async def test_resize(box: Web) -> None:
    tty = {"argv": ["cat"], "tty": {"rows": 10, "cols": 20}}
    started = await box.client.post(f"{BOX}/processes", json=tty)
    assert started.json()["tty"] is True
    size = {"rows": 30, "cols": 90}
    assert (await box.client.post(f"{BOX}/processes/1/resize", json=size)).status_code == 204
    await box.client.post(f"{BOX}/processes", json={"argv": ["sleep", "60"]})
    plain = await box.client.post(f"{BOX}/processes/2/resize", json=size)
    assert plain.status_code == 409


async def test_heartbeats(box: Web) -> None:
    wrote, go = anyio.Event(), anyio.Event()

    async def slow(call: Invocation) -> int:
        await call.stdout(b"a")
        wrote.set()
        await go.wait()
        return 0

    box.backend.script("slow", slow)
    beating = box.app.state.front.settings.model_copy(update={"heartbeat_s": 0.02})
    object.__setattr__(box.app.state.front, "settings", beating)
    await box.client.post(f"{BOX}/processes", json={"argv": ["slow"]})

    async def finish() -> None:
        await wrote.wait()
        await anyio.sleep(0.1)  # waits on purpose: some heartbeats
        go.set()

    async with anyio.create_task_group() as group:
        group.start_soon(finish)
        answer = await box.client.get(f"{BOX}/processes/1/output")
    assert ": keep-alive" in answer.text
    assert events_of(answer.text)[-1][1] == "exit"
