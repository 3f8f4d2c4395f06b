"""The server as a person starts it, with a port of the dialect's own: curl, events, restarts."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.arch import tree
from tests.dialects.agentkernel.rig import told
from tests.e2e.server import Server, serving

pytestmark = pytest.mark.needs("userns", "python3")
PAGE = (tree.ROOT / "docs" / "dialects" / "agentkernel.md").read_text()


@pytest.fixture
def client(place: tuple[Server, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=place[1], timeout=60) as made:
        yield made


@pytest.mark.needs("cmd:curl")
@pytest.mark.parity("curl", "port")
def test_the_quick_example(place: tuple[Server, str]) -> None:
    """As the page has it, but for the port."""
    found = re.search(r"## The quick example\n\n```sh\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    assert "18888" in found[1]
    script = found[1].replace("http://127.0.0.1:18888", place[1])
    done = subprocess.run(
        ["bash", "-euc", script.replace("curl -s ", "curl -sw '\\n' ")],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert all(each["success"] for each in answers)
    data = [each["data"] for each in answers]
    assert data[:2] == ["ok", {"output": "2\n"}]
    assert [each["output"] for each in data[2]["results"]] == ["hello\n", "world\n"]
    assert (data[3]["name"], data[3]["memory_mb"]) == ("my-sandbox", 256)
    assert data[4] == "Wrote 11 bytes to /tmp/hello.txt"
    assert data[5] == {"output": "hello world"}
    assert data[6][0]["event"] == "sandbox_created"
    assert data[7] == "Sandbox removed"
    outputs = [each for kind, each in told(done.stdout) if kind == "output"]
    assert [each["data"] for each in outputs] == ["one\n", "two\n"]


@pytest.mark.parity("port")
def test_its_port_is_its_own(place: tuple[Server, str]) -> None:
    server, url = place
    assert httpx.get(f"{url}/v1/sandboxes").json() == {"success": False, "error": "Not found"}
    assert httpx.get(f"{server.url}/agentkernel/health").json()["data"] == "ok"
    assert httpx.get(f"{server.url}/v1/sandboxes").status_code == 200
    assert f"Dialect agentkernel: {url}" in server.printed.read_text()


@pytest.mark.parity("stream")
def test_events_come_as_the_program_prints(client: httpx.Client) -> None:
    """Each half second a line; the program tells when it wrote, the test when it came."""
    script = "import time\nfor i in range(4): print(time.time()); time.sleep(.5)"
    body = {"command": ["python3", "-c", script]}
    late: list[float] = []
    with client.stream("POST", "/run/stream", json=body) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: ") and '"stream":"stdout"' in line:
                said = json.loads(line[6:])["data"].strip()  # a line's end may come by itself
                late += [time.time() - float(said)] if said else []
    assert len(late) == 4
    # Told at the end, the first would be two seconds late.
    assert max(late[:3]) < 1.0, late


@pytest.mark.parity("events")
def test_events(client: httpx.Client) -> None:
    seen: list[dict[str, Any]] = []
    wanted = ["sandbox.created", "sandbox.exec.completed", "sandbox.deleted"]
    ready = threading.Event()

    def follow() -> None:
        with (
            httpx.Client(base_url=client.base_url, timeout=60) as own,
            own.stream("GET", "/events") as answer,
        ):
            assert answer.headers["content-type"].startswith("text/event-stream")
            ready.set()
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    seen.append(json.loads(line[6:]))
                    if seen[-1]["event"] == wanted[-1]:
                        return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    assert ready.wait(30)
    client.post("/sandboxes", json={"name": "told", "labels": {"a": "b"}})
    client.post("/sandboxes/told/exec", json={"command": ["true"]})
    client.delete("/sandboxes/told")
    follower.join(30)
    assert [each["event"] for each in seen] == wanted
    for each in seen:
        assert each["sandbox"] == "told"
        assert each["labels"] == {"a": "b"}
        assert each["timestamp"]
        assert isinstance(each["metadata"], dict)
    assert client.get("/events?sandbox=nope").status_code == 404


@pytest.mark.parity("restart")
def test_sandboxes_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    def api(server: Server) -> httpx.Client:
        return httpx.Client(base_url=f"{server.url}/agentkernel", timeout=60)

    def printed(client: httpx.Client, name: str) -> str:
        body = {"command": ["cat", "/workspace/a"]}
        return str(client.post(f"/sandboxes/{name}/exec", json=body).json()["data"]["output"])

    with serving(tmp_path / "data") as server, api(server) as client:
        body = {"name": "kept", "labels": {"a": "b"}, "memory_mb": 128, "profile": "permissive"}
        before = client.post("/sandboxes", json=body).json()["data"]
        client.put("/sandboxes/kept/files/workspace/a", json={"content": "frozen"})
        assert client.post("/snapshots", json={"sandbox": "kept", "name": "s"}).status_code == 201
        client.put("/sandboxes/kept/files/workspace/a", json={"content": "kept"})
        left = client.post("/sandboxes/kept/exec/detach", json={"command": ["sleep", "600"]}).json()
        server.process.kill()
        server.process.wait(15)
    with serving(tmp_path / "data") as server, api(server) as client:
        after = client.get("/sandboxes/kept").json()["data"]
        for key in ("uuid", "labels", "memory_mb", "vcpus", "profile", "created_at", "image"):
            assert after[key] == before[key]
        assert after["status"] == "stopped"
        assert printed(client, "kept") == "kept"
        path = f"/sandboxes/kept/exec/detached/{left['data']['id']}"
        assert client.get(path).json()["data"]["status"] == "failed"
        back = client.post("/snapshots/s/restore").json()["data"]
        assert back["memory_mb"] == 128
        assert printed(client, back["name"]) == "frozen"
        kinds = [each["type"] for each in client.get("/sandboxes/kept/logs").json()["data"]]
        assert kinds[:3] == ["sandbox_created", "sandbox_started", "file_written"]
