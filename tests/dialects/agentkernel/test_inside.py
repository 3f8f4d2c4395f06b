"""What happens in sandboxes: commands, files, snapshots, the log of it."""

import base64
from typing import Any

import anyio
import pytest

from tests.dialects.agentkernel.rig import Spoken

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]


@pytest.mark.parity("exec")
async def test_exec(spoken: Spoken, box: str) -> None:
    script = "echo $A-$B; pwd; echo e >&2"
    more = {"env": ["A=1", "B=x=y"], "workdir": "/tmp"}
    assert await spoken.printed(box, "sh", "-c", script, **more) == "1-x=y\n/tmp\ne\n"
    answer = await spoken.client.post(
        f"/sandboxes/{box}/exec", json={"command": ["sh", "-c", "echo x; exit 4"], "env": None}
    )
    assert answer.status_code == 500
    assert answer.json() == {
        "success": False,
        "error": "Command exited with code 4: x\n",
        "exit_code": 4,
        "output": "x\n",
    }
    path = f"/sandboxes/{box}/exec"
    assert await spoken.post(path, {"command": []}, 400) == "command is required"
    for env in (["A"], ["=x"], ["1A=x"], [""]):
        await spoken.post(path, {"command": ["true"], "env": env}, 400)
    gone = await spoken.post("/sandboxes/nope/exec", {"command": ["true"]}, 404)
    assert gone == "Sandbox not found"


@pytest.mark.parity("exec.sudo")
async def test_sudo(spoken: Spoken, box: str) -> None:
    body = {"command": ["true"], "sudo": True}
    assert "sudo" in await spoken.post(f"/sandboxes/{box}/exec", body, 403)
    assert await spoken.post(f"/sandboxes/{box}/exec", {**body, "sudo": False}) == {"output": ""}


@pytest.mark.parity("detached")
async def test_detached(spoken: Spoken, box: str) -> None:
    path = f"/sandboxes/{box}/exec"
    await spoken.printed(box, "true")
    script = "echo out; echo err >&2; exec sleep 600"
    made = await spoken.post(f"{path}/detach", {"command": ["sh", "-c", script], "env": ["A=b"]})
    assert made["sandbox"] == box
    assert made["command"] == ["sh", "-c", script]
    assert made["status"] == "running"
    assert "exit_code" not in made
    one = f"{path}/detached/{made['id']}"
    with anyio.fail_after(30):
        while "err" not in (await spoken.get(f"{one}/logs?stream=stderr"))["stderr"]:
            await anyio.sleep(0.02)  # waits on purpose: for the program
    assert await spoken.get(f"{one}/logs") == {"stdout": "out\n"}
    assert await spoken.get(f"{path}/detached") == [made]
    assert await spoken.delete(one) == "Command killed"
    assert await spoken.delete(one) == "Command killed"
    assert (await spoken.get(one))["status"] == "failed"
    assert (await spoken.get(one))["exit_code"] == 137
    assert await spoken.get(f"{one}/logs") == {"stdout": "out\n"}
    done = await spoken.post(f"{path}/detach", {"command": ["true"]})
    with anyio.fail_after(30):
        while (await spoken.get(f"{path}/detached/{done['id']}"))["status"] == "running":
            await anyio.sleep(0.02)  # waits on purpose: for the program
    assert (await spoken.get(f"{path}/detached/{done['id']}"))["exit_code"] == 0
    for wrong in ("1", "99", "x", "-1", "9" * 40):
        assert await spoken.get(f"{path}/detached/{wrong}", 404) == "Detached command not found"


@pytest.mark.parity("files.write", "files.read", "files.delete")
async def test_files(spoken: Spoken, box: str) -> None:
    path = f"/sandboxes/{box}/files/tmp/a/hello.txt"
    said = await spoken.ask("PUT", path, {"content": "grüße"})
    assert said == "Wrote 7 bytes to /tmp/a/hello.txt"
    assert await spoken.get(path) == {"content": "grüße", "encoding": "utf8", "size": 7}
    assert await spoken.get(path.replace("/tmp", "//tmp")) == await spoken.get(path)
    raw = base64.b64encode(b"\xff\0").decode()
    await spoken.ask("PUT", path, {"content": raw, "encoding": "base64"})
    assert await spoken.get(path) == {"content": raw, "encoding": "base64", "size": 2}
    assert await spoken.printed(box, "od", "-An", "-tx1", "/tmp/a/hello.txt") == " ff 00\n"
    assert await spoken.delete(path) == "Deleted /tmp/a/hello.txt"
    assert await spoken.get(path, 404) == "File not found: /tmp/a/hello.txt"
    assert await spoken.get(f"/sandboxes/{box}/files/tmp", 404)
    for method, where in (("PUT", "tmp"), ("PUT", ""), ("DELETE", "")):
        await spoken.ask(method, f"/sandboxes/{box}/files/{where}", {"content": ""}, 400)
    await spoken.printed(box, "sh", "-c", "mkdir -p /tmp/full; touch /tmp/full/a")
    await spoken.delete(f"/sandboxes/{box}/files/tmp/full", 400)
    assert await spoken.get("/sandboxes/nope/files/a", 404) == "Sandbox not found"
    for method in ("PUT", "DELETE"):
        body = {"content": ""}
        gone = await spoken.ask(method, "/sandboxes/nope/files/a", body, 400)
        assert gone == "Sandbox not found"


@pytest.mark.parity("files.paths")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_paths(spoken: Spoken, box: str, method: str) -> None:
    body = {"content": "x"}
    for path in ("a/%2e%2e/b", "%2e%2e/etc/hosts", "a..b"):
        said = await spoken.ask(method, f"/sandboxes/{box}/files/{path}", body, 400)
        assert said.startswith("Path traversal not allowed: /")
    for path in (
        "proc/self/environ", "proc", "sys/x", "dev/null", "etc/passwd", "etc/shadow/x",
        "etc/./passwd", "etc//sudoers", "root/.ssh", "root/.ssh/id",
    ):  # fmt: skip
        said = await spoken.ask(method, f"/sandboxes/{box}/files/{path}", body, 400)
        assert said.startswith("Cannot access system path: /")
    assert "NUL" in await spoken.ask(method, f"/sandboxes/{box}/files/a%00", body, 400)
    # What only begins like one of them is none.
    await spoken.ask("PUT", f"/sandboxes/{box}/files/tmp/proc", body)


@pytest.mark.parity("files.base64")
async def test_bad_base64(spoken: Spoken, box: str) -> None:
    for content in ("!!", "YQ", "YQ=a", "ä"):
        body = {"content": content, "encoding": "base64"}
        said = await spoken.ask("PUT", f"/sandboxes/{box}/files/tmp/x", body, 400)
        assert said.startswith("Invalid base64: ")


@pytest.mark.parity("files.batch")
async def test_many_files(spoken: Spoken, box: str) -> None:
    path = f"/sandboxes/{box}/files"
    files = {"/workspace/a": "1", "/tmp/b/c": "2"}
    assert await spoken.post(path, {"files": files}) == {"written": 2}
    assert await spoken.printed(box, "cat", "a", "/tmp/b/c") == "12"
    assert await spoken.post(path, {"files": {}}, 400) == "files map is empty"
    await spoken.post(path, {"files": {"/workspace/new": "", "/etc/passwd": ""}}, 400)
    assert await spoken.get(f"{path}/workspace/new", 404)


@pytest.mark.parity("snapshots", "snapshots.unnamed", "snapshots.restore")
async def test_snapshots(spoken: Spoken) -> None:
    body = {"name": "frozen", "memory_mb": 128, "profile": "permissive"}
    await spoken.post("/sandboxes", body, 201)
    await spoken.post("/sandboxes/frozen/files", {"files": {"/workspace/a": "kept"}})
    taken = await spoken.post("/snapshots", {"sandbox": "frozen", "name": "one"}, 201)
    assert taken["image_tag"] == "agentkernel-snap:one"
    assert (taken["sandbox"], taken["memory_mb"], taken["vcpus"]) == ("frozen", 128, 2)
    assert await spoken.get("/snapshots/one") == taken
    assert await spoken.post("/snapshots", {"sandbox": "frozen", "name": "one"}, 409)
    unnamed = await spoken.post("/snapshots", {"sandbox": "frozen"}, 201)
    assert unnamed["name"].startswith("frozen-")
    assert await spoken.get("/snapshots") == [taken, unnamed]
    await spoken.post("/sandboxes/frozen/files", {"files": {"/workspace/a": "changed"}})
    back = await spoken.post("/snapshots/one/restore")
    assert (back["name"], back["status"]) == ("frozen-restored", "stopped")
    assert (back["memory_mb"], back["profile"]) == (128, "permissive")
    assert (back["sandbox"], back["from_snapshot"]) == ("frozen-restored", "one")
    assert await spoken.printed("frozen-restored", "cat", "a") == "kept"
    assert (await spoken.post("/snapshots/one/restore", {"as_name": "b"}))["name"] == "b"
    assert await spoken.post("/snapshots/one/restore", {"as_name": "b"}, 409)
    assert await spoken.delete("/snapshots/one") == "Snapshot deleted"
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/restore")):
        said = await spoken.ask(method, f"/snapshots/one{path}", None, 404)
        assert said == "Snapshot not found"
    await spoken.delete(f"/snapshots/{unnamed['name']}")
    assert await spoken.post("/snapshots", {"sandbox": "nope"}, 404) == "Sandbox not found"
    await spoken.post("/sandboxes/b/exec/detach", {"command": ["sleep", "600"]})
    assert "run in sandbox" in await spoken.post("/snapshots", {"sandbox": "b"}, 409)
    for name in ("frozen", "frozen-restored", "b"):
        await spoken.delete(f"/sandboxes/{name}")


@pytest.mark.parity("logs")
async def test_logs(spoken: Spoken, box: str) -> None:
    await spoken.printed(box, "true")
    await spoken.client.post(f"/sandboxes/{box}/exec", json={"command": ["sh", "-c", "exit 3"]})
    await spoken.ask("PUT", f"/sandboxes/{box}/files/tmp/a", {"content": ""})
    await spoken.get(f"/sandboxes/{box}/files/tmp/a")
    await spoken.post(f"/sandboxes/{box}/stop")
    found = await spoken.get(f"/sandboxes/{box}/logs")
    kinds = [each["type"] for each in found]
    assert kinds == [
        "sandbox_created", "sandbox_started", "command_executed", "command_executed",
        "file_written", "file_read", "sandbox_stopped",
    ]  # fmt: skip
    for each in found:
        assert each["event"] == each["type"]
        assert each["name"] == each["sandbox"] == box
        assert each["pid"] > 0
        assert each["user"] == "anonymous"
    assert found[0]["image"] == "host"
    assert found[0]["backend"] == "namespace"
    assert found[1]["profile"] == "moderate"
    assert found[3]["command"] == ["sh", "-c", "exit 3"]
    assert (found[2]["exit_code"], found[3]["exit_code"]) == (0, 3)
    assert [each["timestamp"] for each in found] == sorted(each["timestamp"] for each in found)
    for name in ("nope", "no--body", "no-", ".bad"):
        assert await spoken.get(f"/sandboxes/{name}/logs", 404) == "Sandbox not found"


@pytest.mark.parity("backends")
async def test_backends(spoken: Spoken) -> None:
    found = await spoken.get("/backends")
    assert found["default_backend"] == "namespace"
    first = found["backends"][0]
    assert (first["backend"], first["configured"], first["usable"]) == ("namespace", True, True)
    assert first["readiness_reason"]
    assert first["capabilities"].keys() == {
        "mount_cwd", "mount_home", "attach", "host_volumes", "ssh", "proxy_secret_bindings",
        "secret_files", "snapshots", "resume", "full_state_pause_resume", "full_state_fork",
        "endpoints",
    }  # fmt: skip
    assert first["capabilities"]["snapshots"] is True


@pytest.mark.parity("status")
async def test_status(spoken: Spoken, box: str) -> None:
    _ = box
    found: dict[str, Any] = await spoken.get("/status")
    assert found["status"] == "ok"
    assert found["sandboxes"] == {"total": 1, "running": 1}
    assert (await spoken.get("/stats"))["pool"]["max_running"] >= 1
    assert (await spoken.get("/doctor"))["healthy"] is True
    metrics = await spoken.client.get("/metrics")
    assert "atoll_pool_ready" in metrics.text
    assert metrics.headers["content-type"].startswith("text/plain")
