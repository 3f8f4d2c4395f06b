"""One-shots: run, batch, stream."""

import subprocess
import time
from typing import Any

import anyio
import pytest

from tests.dialects.agentkernel.rig import Spoken

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "python3")]


def run(*command: str, **more: Any) -> dict[str, Any]:
    return {"command": list(command), **more}


@pytest.mark.parity("run", "run.fast")
async def test_run(spoken: Spoken) -> None:
    for more in ({}, {"fast": True}, {"fast": False}, {"image": None, "profile": None}):
        body = run("python3", "-c", "print(1+1)", **more)
        assert await spoken.post("/run", body) == {"output": "2\n"}
    assert await spoken.post("/run", run("sh", "-c", "echo a; echo b >&2")) == {"output": "a\nb\n"}
    assert await spoken.post("/run", run("printf", r"\377x")) == {"output": "\ufffdx"}
    # What one leaves behind the next does not see.
    await spoken.post("/run", run("touch", "/tmp/left"))
    assert await spoken.post("/run", run("ls", "/tmp")) == {"output": ""}


PROGRAMS = {
    "arguments": ("import sys; print(sys.argv)", "a", "-b", "c d"),
    "status": ("import sys; print('x'); sys.exit(7)",),
    "text": ("import sys; sys.exit('gone')",),
    "exception": ("1/0",),
    "syntax": ("print(",),
    "signal": ("import os; os.kill(os.getpid(), 15)",),
}


@pytest.mark.parity("run.python", "run.failure")
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("python", ["python3", "/usr/bin/python3"])
async def test_python_is_as_python_is(spoken: Spoken, name: str, python: str) -> None:
    words = (python, "-c", *PROGRAMS[name])
    done = await anyio.run_process(words, check=False, stderr=subprocess.STDOUT)
    text = done.stdout.decode()
    code = done.returncode if done.returncode >= 0 else 128 - done.returncode
    answer = await spoken.client.post("/run", json=run(*words))
    if code:
        assert answer.status_code == 500
        assert answer.json() == {
            "success": False,
            "error": f"Command exited with code {code}: {text}",
            "exit_code": code,
            "output": text,
        }
    else:
        assert answer.json() == {"success": True, "data": {"output": text}}


@pytest.mark.parity("run.python")
async def test_python_files_and_modules(spoken: Spoken, box: str) -> None:
    await spoken.post(f"/sandboxes/{box}/files", {"files": {
        "/workspace/a.py": "import sys, b; print(sys.argv, __name__, b.B)",
        "/workspace/b.py": "B = 2",
    }})  # fmt: skip
    assert await spoken.printed(box, "python3", "a.py", "x") == "['a.py', 'x'] __main__ 2\n"
    assert "['/workspace/a.py', 'x']" in await spoken.printed(box, "python3", "-m", "a", "x")


@pytest.mark.parity("run.empty", "bad-json")
async def test_bad_commands(spoken: Spoken) -> None:
    assert await spoken.post("/run", run(), 400) == "command is required"
    assert await spoken.post("/run", run(""), 400) == "command[0] must not be empty"
    assert "NUL" in await spoken.post("/run", run("a\0"), 400)
    assert "'nope'" in await spoken.post("/run", run("nope"), 400)


@pytest.mark.parity("run.profile")
async def test_profiles(spoken: Spoken) -> None:
    code = "import os; print(sum(1 for _ in open('/proc/self/limits') if 'Max open files' in _))"
    limit = "import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[1])"
    assert await spoken.post("/run", run("python3", "-c", code)) == {"output": "1\n"}
    usual = await spoken.post("/run", run("python3", "-c", limit))
    strict = await spoken.post("/run", run("python3", "-c", limit, profile="Restrictive"))
    nobodys = await spoken.post("/run", run("python3", "-c", limit, profile="nope"))
    assert strict == {"output": "256\n"}
    assert usual == nobodys == {"output": "1024\n"}


@pytest.mark.parity("run.image", "run.fast")
async def test_images(spoken: Spoken) -> None:
    body = run("echo", "x", image="no-such-image:1", fast=False)
    assert "no-such-image:1" in await spoken.post("/run", body, 400)
    assert await spoken.post("/run", {**body, "fast": True}) == {"output": "x\n"}
    for image in ("python:3.12-alpine", None):
        more = {"image": image, "fast": False}
        assert await spoken.post("/run", run("python3", "-c", "print(1)", **more)) == {
            "output": "1\n"
        }


@pytest.mark.parity("batch")
async def test_batch(spoken: Spoken) -> None:
    commands = [run("sh", "-c", f"sleep 0.0{i % 7}; echo {i}") for i in range(60)]
    commands += [run(), run("sh", "-c", "echo x; exit 2"), run("nope")]
    found = (await spoken.post("/batch/run", {"commands": commands}))["results"]
    assert [each["output"] for each in found[:60]] == [f"{i}\n" for i in range(60)]
    assert all(each["error"] is None for each in found[:60])
    assert found[60] == {"output": None, "error": "command is required"}
    assert found[61] == {"output": None, "error": "Command exited with code 2: x\n"}
    assert "'nope'" in found[62]["error"]
    said = await spoken.post("/batch/run", {"commands": []}, 400)
    assert said == "commands array is required and must not be empty"
    assert "at most" in await spoken.post("/batch/run", {"commands": [run("a")] * 300}, 400)


@pytest.mark.parity("batch")
async def test_a_batch_runs_at_once(spoken: Spoken) -> None:
    begun = time.monotonic()
    await spoken.post("/batch/run", {"commands": [run("sleep", "1")] * 16})
    assert time.monotonic() - begun < 12, "sixteen seconds one after the other"


@pytest.mark.parity("stream")
async def test_stream(spoken: Spoken) -> None:
    events = await spoken.events(run("sh", "-c", "printf 'grü'; echo ß; echo e >&2"))
    assert events[0][0] == "started"
    started = events[0][1]
    assert started["command"] == ["sh", "-c", "printf 'grü'; echo ß; echo e >&2"]
    assert started["sandbox"]
    assert started["timestamp"]
    assert started["fast"] is True
    stages = [data["stage"] for kind, data in events if kind == "progress"]
    assert stages == ["creating", "starting", "executing"]
    outputs = [data for kind, data in events if kind == "output"]
    assert all(each["data"] == each["content"] for each in outputs)
    assert "".join(each["data"] for each in outputs if each["stream"] == "stdout") == "grüß\n"
    assert "".join(each["data"] for each in outputs if each["stream"] == "stderr") == "e\n"
    assert events[-1] == ("done", {"exit_code": 0, "success": True})
    slow = await spoken.events(run("true", fast=False))
    stages = [data["stage"] for kind, data in slow if kind == "progress"]
    assert [each for each in stages if each[:8] == "sandbox_"] == [
        "sandbox_created",
        "sandbox_started",
    ]


@pytest.mark.parity("stream.failure", "run.empty")
async def test_streams_that_fail(spoken: Spoken) -> None:
    events = await spoken.events(run("sh", "-c", "echo x; exit 3"))
    assert events[-1][0] == "done"
    done = events[-1][1]
    assert (done["exit_code"], done["success"], done["output"]) == (3, False, "x\n")
    assert await spoken.events(run()) == [("error", {"message": "command is required"})]
    events = await spoken.events(run("nope"))
    assert [kind for kind, _ in events if kind in {"done", "error"}] == ["error"]
    assert "'nope'" in events[-1][1]["message"]


@pytest.mark.parity("run.disconnect")
async def test_leaving_ends_the_command(spoken: Spoken) -> None:
    with anyio.move_on_after(1):
        await spoken.client.post("/run", json=run("sleep", "600"))
    with anyio.fail_after(30):
        while (await spoken.get("/stats"))["pool"]["running"]:
            await anyio.sleep(0.05)  # waits on purpose: for another task to notice
