"""Sessions: made, listed, expired, swept; and their variables."""

import re
from datetime import datetime
from pathlib import Path

import anyio
import pytest

from tests.dialects.wasmrun.rig import Session, Spoken, speaking_wasmrun

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]


@pytest.mark.parity("sessions.create", "sessions.status", "sessions.delete")
async def test_a_life(spoken: Spoken) -> None:
    made = (await spoken.client.post("/sessions")).json()
    assert set(made) == {"session_id", "created_at"}
    assert re.fullmatch("[0-9a-f]{32}", made["session_id"])
    assert datetime.fromisoformat(made["created_at"]).tzinfo is not None
    place = f"/sessions/{made['session_id']}"
    status = (await spoken.client.get(place)).json()
    assert status["session_id"] == made["session_id"]
    assert status["state"] == "active"
    assert status["timeout_secs"] == 300
    assert 0 <= status["last_accessed_elapsed_ms"] <= status["created_at_elapsed_ms"] + 1
    gone = await spoken.client.delete(place)
    assert gone.json() == {"message": f"Session {made['session_id']} destroyed"}
    assert (await spoken.client.get(place)).status_code == 404


@pytest.mark.parity("sessions.list")
async def test_the_newest_is_first(spoken: Spoken) -> None:
    first, second = await spoken.session(), await spoken.session()
    found = (await spoken.client.get("/sessions")).json()
    ids = [each["session_id"] for each in found["sessions"]]
    assert found["count"] == len(ids)
    assert ids.index(second.id) < ids.index(first.id)
    for each in (first, second):
        await spoken.client.delete(f"/sessions/{each.id}")


@pytest.mark.parity(
    "sessions.cap", "options.sessions", "errors.410", "errors.429", "sweep", "ready"
)
async def test_the_cap_and_the_end_of_the_idle(tmp_path: Path) -> None:
    async with speaking_wasmrun(tmp_path, max_sessions=1, timeout_s=60) as spoken:
        session = await spoken.session()
        full = await spoken.client.post("/sessions")
        assert full.json() == {"error": "Maximum sessions reached: 1", "code": 429}
        assert full.status_code == 429
        ready = await spoken.client.get("/ready")
        assert ready.status_code == 503
        assert ready.json() == {"status": "unready", "reason": "at_session_capacity"}
        spoken.clock.leapt_s += 59
        assert (await spoken.client.get(f"/sessions/{session.id}")).status_code == 200
        spoken.clock.leapt_s += 61
        for path in (f"/sessions/{session.id}", f"/sessions/{session.id}/env"):
            gone = await spoken.client.get(path)
            assert gone.json() == {"error": f"Session expired: {session.id}", "code": 410}
        assert (await spoken.client.get("/sessions")).json() == {"sessions": [], "count": 0}
        other = await spoken.session()
        await spoken.dialect.here.sessions.sweep()
        assert (await spoken.client.get(f"/sessions/{session.id}")).status_code == 404
        sandbox = await spoken.native.get(f"/v1/sandboxes/wasmrun-{session.id}")
        assert sandbox.status_code == 404
        spoken.clock.leapt_s += 61
        assert (await spoken.client.delete(f"/sessions/{other.id}")).status_code == 200


async def test_one_that_executes_is_not_idle(tmp_path: Path) -> None:
    async with speaking_wasmrun(tmp_path, timeout_s=60) as spoken:
        session = await spoken.session()
        async with anyio.create_task_group() as group:

            async def run() -> None:
                found = await session.exec(source="import sys; sys.stdin.read()", language="python")
                assert found["exit_code"] == 0

            group.start_soon(run)
            while not spoken.dialect.here.metrics.executing:
                await anyio.sleep(0)
            spoken.clock.leapt_s += 1000
            await spoken.dialect.here.sessions.sweep()
        assert (await spoken.client.get(f"/sessions/{session.id}")).status_code == 200


@pytest.mark.parity("sessions.limits", "options.limits")
async def test_limits_of_one_session(spoken: Spoken) -> None:
    small = await spoken.session(max_file_size_mb=1, max_disk_mb=1, max_memory_mb=64)
    refused = await small.write("big", "x" * (1024 * 1024 + 1))
    text = "Bad request: File size limit exceeded: 1048577 bytes > 1048576 byte limit"
    assert refused.json() == {"error": text, "code": 400}
    usual = await spoken.session()
    assert (await usual.write("big", "x" * (1024 * 1024 + 1))).status_code == 200
    for each in (small, usual):
        await spoken.client.delete(f"/sessions/{each.id}")


@pytest.mark.parity("env")
async def test_variables_stay(spoken: Spoken, session: Session) -> None:
    place = f"/sessions/{session.id}/env"
    said = await spoken.client.post(place, json={"A": "1", "B": "zwei"})
    assert said.json() == {"message": "Set 2 environment variable(s)"}
    assert (await spoken.client.get(place)).json() == {"env": {"A": "1", "B": "zwei"}}
    assert await session.printed("console.log(process.env.A, process.env.B)") == "1 zwei\n"
    for wrong in ('{"A": 1}', '{"A":"b"},{"C":"d"}', "[]", "", '{"A\\u0000":"x"}'):
        assert (await spoken.client.post(place, content=wrong)).status_code == 400
    assert (await spoken.client.get(place)).json() == {"env": {"A": "1", "B": "zwei"}}


@pytest.mark.parity("beyond.native-api")
async def test_the_native_api_sees_the_same_files(spoken: Spoken, session: Session) -> None:
    place = f"/v1/sandboxes/wasmrun-{session.id}/files//workspace/a.bin"
    await spoken.native.put(place, content=b"\x00\xff")
    assert (await session.read("/a.bin", encoding="base64")).json()["content"] == "AP8="
    await session.write("b.txt", "hello")
    read = await spoken.native.get(place.replace("a.bin", "b.txt"))
    assert read.content == b"hello"
    await spoken.native.delete(f"/v1/sandboxes/wasmrun-{session.id}")
    gone = await session.read("b.txt")
    assert gone.json() == {"error": f"Session not found: {session.id}", "code": 404}


@pytest.mark.needs("wasm")
@pytest.mark.parity("beyond.native-api")
async def test_both_apis_work_in_one_sandbox(spoken: Spoken, session: Session) -> None:
    box = f"/v1/sandboxes/wasmrun-{session.id}"
    module = b"\0asm\1\0\0\0\1\5\1\x60\0\1\x7f\3\2\1\0\7\6\1\2up\0\0\x0a\6\1\4\0\x41\x2a\x0b"
    put = await spoken.native.put(f"{box}/files//workspace/up.wasm", content=module)
    assert put.status_code < 300, put.text
    assert (await session.exec(wasm_path="up.wasm", function="up"))["results"] == [42]
    await session.exec(source="open('from-session', 'w').write('x')", language="python")
    body = {
        "argv": [
            "sh",
            "-c",
            "cat from-session; atoll-wasm --invoke up up.wasm; echo y > /workspace/z",
        ]
    }
    done = await spoken.native.post(f"{box}/exec", json=body)
    assert (done.json()["stdout"], done.json()["exit_code"]) == ("x42\n", 0)
    assert (await session.exec(command="cat z"))["stdout"] == "y\n"
    # Stopped by the one, it starts again with the next use by the other.
    assert (await spoken.native.post(f"{box}/stop")).status_code < 300
    assert (await session.exec(wasm_path="up.wasm", function="up"))["results"] == [42]
