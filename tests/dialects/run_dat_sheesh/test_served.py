"""A server as a person starts it, and curl as the document has it."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from atoll.dialects import DIALECTS
from tests.e2e.server import Server, free_port, serving

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(60),
    pytest.mark.needs("userns", "deno", "node"),
]
KEY = "dev-key"
OPTIONS = {
    "api_key": KEY,
    "admin_email": "admin@example.com",
    "admin_password": "pass word",
    "legacy_home_paths": "true",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    port = free_port()
    flags = ["--dialect", f"run-dat-sheesh=127.0.0.1:{port}"]
    for name, value in OPTIONS.items():
        flags += ["--dialect-option", f"run-dat-sheesh.{name}={value}"]
    with serving(tmp_path_factory.mktemp("served") / "data", *flags) as server:
        yield server, f"http://127.0.0.1:{port}"


def test_the_port() -> None:
    assert DIALECTS["run-dat-sheesh"].port == 3000


@pytest.mark.parity("port")
def test_it_is_spoken_at_both_places(place: tuple[Server, str]) -> None:
    server, address = place
    for base in (address, f"{server.url}/run-dat-sheesh"):
        answer = httpx.get(f"{base}/v1/vms", headers={"x-api-key": KEY})
        assert (answer.status_code, answer.json()) == (200, [])
        assert httpx.get(f"{base}/v1/vms").status_code == 401


@pytest.mark.parity("curl")
def test_the_documents_examples(place: tuple[Server, str], tmp_path: Path) -> None:
    _, address = place
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "hello.txt").write_text("hello\n")
    script = r"""
set -eu
JSON='content-type: application/json'
post() { curl -fsS -X POST "$API/v1/vms$1" -H "X-API-Key: $KEY" -H "$JSON" -d "$2"; }
tar -czf project.tar.gz -C project .
post "" '{"cpu":1,"memMb":256,"allowIps":["172.16.0.1/32"],"outboundInternet":false}' > vm.json
VM=$(python3 -c 'import json; print(json.load(open("vm.json"))["id"])')
curl -fsS "$API/v1/vms/$VM" -H "X-API-Key: $KEY" > got.json
post "/$VM/exec" '{"cmd":"uname -a"}' > exec.json
CODE='console.log(\"hi\"); result.set({ok:true})'
post "/$VM/run-ts" '{"code":"'"$CODE"'","denoFlags":[],"args":["x"]}' > ts.json
curl -fsS -X POST "$API/v1/vms/$VM/files/upload?dest=%2Fhome%2Fuser%2Fproject" \
  -H "X-API-Key: $KEY" -H 'Content-Type: application/gzip' --data-binary @project.tar.gz
curl -fsS "$API/v1/vms/$VM/files/download?path=%2Fhome%2Fuser%2Fproject" \
  -H "X-API-Key: $KEY" -o out.tar.gz
tar -tzf out.tar.gz | sort > listed
curl -fsS "$API/v1/vms/$VM/files/upload?dest=%2Fworkspace%2Fproject" \
  -H "X-API-Key: $KEY" -H 'Content-Type: application/gzip' --data-binary @project.tar.gz
curl -fsS -X POST "$API/v1/vms/$VM/stop" -H "X-API-Key: $KEY"
curl -fsS -X POST "$API/v1/vms/$VM/start" -H "X-API-Key: $KEY"
curl -fsS "$API/v1/snapshots" -H "X-API-Key: $KEY" > snapshots.json
curl -fsS -X DELETE "$API/v1/vms/$VM" -H "X-API-Key: $KEY"
"""
    env = {**os.environ, "API": address, "KEY": KEY}
    subprocess.run(["bash", "-c", script], check=True, cwd=tmp_path, env=env, timeout=50)

    def read(name: str) -> dict[str, object]:
        return dict(json.loads((tmp_path / name).read_text()))

    assert read("vm.json") == read("got.json")
    assert str(read("exec.json")["stdout"]).startswith("Linux")
    assert read("ts.json") == {
        "exitCode": 0, "stdout": "hi\n", "stderr": "", "result": {"ok": True}
    }  # fmt: skip
    assert (tmp_path / "listed").read_text() == "./\n./hello.txt\n"


@pytest.mark.parity("admin.events")
def test_events(place: tuple[Server, str]) -> None:
    _, address = place
    words = {"email": "admin@example.com", "password": "pass word"}
    with httpx.Client(base_url=address, timeout=20) as client:
        assert client.post("/auth/login", json=words).status_code == 200
        with client.stream("GET", "/v1/admin/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            lines = answer.iter_lines()
            assert next(lines) == ": connected"
            body = {"cpu": 1, "memMb": 256, "allowIps": []}
            made = client.post("/v1/vms", json=body).json()
            seen: dict[str, str] = {}
            for line in lines:
                name, colon, value = line.partition(": ")
                if colon and name:
                    seen[name] = value
                if name == "data":
                    break
        event = json.loads(seen["data"])
        assert seen["event"] == "activity"
        assert (event["id"], event["type"], event["entityId"]) == (
            seen["id"], "vm.created", made["id"],
        )  # fmt: skip
        assert event["meta"]["memMb"] == 256
        assert client.delete(f"/v1/vms/{made['id']}").status_code == 204
