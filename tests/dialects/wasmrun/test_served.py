"""The server as a person starts it, with a port of the dialect's own."""

import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.arch import tree
from tests.e2e.server import ATOLL, Server, free_port, serving

pytestmark = pytest.mark.needs("userns", "deno")
PAGE = (tree.ROOT / "docs" / "dialects" / "wasmrun.md").read_text()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server, and the address of the dialect on it."""
    port = free_port()
    flags = ("--dialect", f"wasmrun=127.0.0.1:{port}", "--dialect-option", "wasmrun.verbose=true")
    with serving(tmp_path_factory.mktemp("served") / "data", *flags) as server:
        yield server, f"http://127.0.0.1:{port}"


@pytest.fixture
def client(place: tuple[Server, str]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"{place[1]}/api/v1", timeout=30) as made:
        yield made


@pytest.mark.needs("wasm", "cmd:curl")
@pytest.mark.parity("port", "successes")
def test_the_quick_example(place: tuple[Server, str]) -> None:
    """As the page has it, but for the port."""
    found = re.search(r"## The quick example\n\n```sh\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    assert "8430" in found[1]
    script = found[1].replace("http://127.0.0.1:8430", place[1])
    done = subprocess.run(
        ["bash", "-euc", script.replace("curl -s", "curl -sw '\\n'")],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert answers[0] == {"message": "Written: add.wat"}
    assert answers[1] == {"message": "Written: empty.wasm"}
    assert answers[2]["results"] == [5]
    assert answers[3]["exit_code"] == 0
    assert answers[4]["stdout"] == "2\n"
    assert answers[5]["message"].endswith(" destroyed")


@pytest.mark.parity("port")
def test_its_port_is_its_own(place: tuple[Server, str]) -> None:
    server, url = place
    assert httpx.get(f"{url}/health").json()["status"] == "ok"
    assert httpx.get(f"{url}/v1/sandboxes").json()["error"].startswith("Not found: Unknown")
    assert httpx.get(f"{server.url}/wasmrun/health").json()["status"] == "ok"
    assert httpx.get(f"{server.url}/v1/sandboxes").status_code == 200
    forged = httpx.get(f"{server.url}/health", headers={"host": url.removeprefix("http://")})
    assert forged.status_code == 404
    assert f"Dialect wasmrun: {url}" in server.printed.read_text()


@pytest.mark.parity("exec.stream", "beyond.incremental")
def test_streams(client: httpx.Client) -> None:
    session = client.post("/sessions").json()["session_id"]
    source = """
        console.log('first');
        const timer = setInterval(() => {
            if (!require('fs').existsSync('/go')) return;
            clearInterval(timer); console.error('grüße'); process.exitCode = 2;
        }, 20);
    """
    body = {"source": source, "stream": True}
    with client.stream("POST", f"/sessions/{session}/exec", json=body) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        assert answer.headers["connection"] == "close"
        assert "access-control-allow-origin" not in answer.headers
        assert "x-request-id" not in answer.headers
        events: list[tuple[str, dict[str, object]]] = []
        kind = ""
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                events.append((kind, json.loads(line[6:])))
                if len(events) == 1:
                    # It has not ended, and its output is here.
                    write = {"path": "go", "content": ""}
                    httpx.post(f"{client.base_url}sessions/{session}/files", json=write)
    assert events[0] == ("output", {"stdout": "first\n", "stderr": ""})
    assert events[1] == ("output", {"stdout": "", "stderr": "grüße\n"})
    assert events[-1][0] == "result"
    result = events[-1][1]
    assert (result["stdout"], result["stderr"], result["exit_code"]) == ("first\n", "grüße\n", 2)


WAT = """(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\03\\00\\00\\00up\\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))
    (loop $l (br $l))))"""


@pytest.mark.needs("wasm")
@pytest.mark.parity("exec.stream", "exec.disconnect", "beyond.incremental")
@pytest.mark.parametrize(
    "body",
    [
        {"wasm_path": "m.wat"},
        {"source": "print('up', flush=True)\nwhile True: pass", "language": "python"},
    ],
    ids=["module", "python"],
)
def test_what_does_not_end_is_seen(client: httpx.Client, body: dict[str, object]) -> None:
    session = client.post("/sessions").json()["session_id"]
    client.post(f"/sessions/{session}/files", json={"path": "m.wat", "content": WAT})
    whole = {**body, "stream": True, "timeout": 120}
    with client.stream("POST", f"/sessions/{session}/exec", json=whole) as answer:
        first = next(line for line in answer.iter_lines() if line.startswith("data: "))
        assert json.loads(first[6:]) == {"stdout": "up\n", "stderr": ""}
    deadline = time.monotonic() + 20
    while client.get("/metrics?format=json").json()["exec_in_flight"]:
        assert time.monotonic() < deadline
    # The next one's turn has come.
    again = client.post(f"/sessions/{session}/exec", json={**body, "timeout": 1}).json()
    assert (again["stdout"], again["exit_code"]) == ("up\n", -1)
    assert again["error"] == "Execution timed out after 1s"
    assert client.delete(f"/sessions/{session}").status_code == 200


@pytest.mark.parity("exec.stream")
def test_streams_that_do_not_begin(client: httpx.Client) -> None:
    session = client.post("/sessions").json()["session_id"]
    for body, status in (
        ({}, 400),
        ({"wasm_path": "nope"}, 404),
        ({"source": "x", "language": "y"}, 400),
    ):
        answer = client.post(f"/sessions/{session}/exec", json={**body, "stream": True})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["code"] == status
    shell = client.post(f"/sessions/{session}/exec", json={"command": "echo a", "stream": True})
    assert 'event: output\ndata: {"stdout":"a\\n","stderr":""}' in shell.text
    assert shell.text.count("event: result") == 1


@pytest.mark.parity("exec.disconnect")
def test_leaving_ends_the_execution(client: httpx.Client) -> None:
    session = client.post("/sessions").json()["session_id"]
    source = """
import time
while True:
    open('/workspace/alive', 'w').write(str(time.time()))
    print('alive', flush=True)
    time.sleep(.01)
"""
    for stream in (True, False):
        body = {"source": source, "language": "python", "stream": stream}
        try:
            with client.stream("POST", f"/sessions/{session}/exec", json=body, timeout=1) as answer:
                next(line for line in answer.iter_lines() if line == "event: output")
        except httpx.TimeoutException:
            pass
        deadline = time.monotonic() + 10
        while client.get("/metrics?format=json").json()["exec_in_flight"]:
            assert time.monotonic() < deadline
        first = client.get(f"/sessions/{session}/files?path=alive").json()
        done = client.post(f"/sessions/{session}/exec", json={"command": "cat alive"}).json()
        assert done["stdout"] == first["content"], "it would have been written to meanwhile"


@pytest.mark.parity("options.verbose")
def test_the_access_log(place: tuple[Server, str], client: httpx.Client) -> None:
    name = client.get("/tools").headers["x-request-id"]
    deadline = time.monotonic() + 10
    lines: list[str] = []
    while not lines:
        assert time.monotonic() < deadline
        lines = [line for line in place[0].printed.read_text().splitlines() if name in line]
    for word in ("GET", "/api/v1/tools", "200", "default"):
        assert word in lines[0]


@pytest.mark.parity("drain")
def test_the_drain(tmp_path: Path) -> None:
    port = free_port()
    with serving(tmp_path / "data", "--dialect", f"wasmrun=127.0.0.1:{port}") as server:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            session = client.post("/sessions").json()["session_id"]
            body = {"source": "import time; time.sleep(2); print('done')", "language": "python",
                    "stream": True}  # fmt: skip
            with client.stream("POST", f"/sessions/{session}/exec", json=body) as answer:
                lines = answer.iter_lines()
                next(lines)
                server.process.send_signal(signal.SIGTERM)
                assert '"stdout":"done\\n"' in "\n".join(lines)
        assert server.process.wait(15) == 0


@pytest.mark.parity("open-bind")
def test_others_may_not_reach_it_without_a_key(tmp_path: Path) -> None:
    port = free_port()
    argv = [str(ATOLL), "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    argv += ["--dialect", f"wasmrun=0.0.0.0:{port}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "0.0.0.0 can be reached by others and there is no API key yet" in done.stderr
    tenants = tmp_path / "tenants.toml"
    tenants.write_text(f'[[tenants]]\nid = "a"\nkey_sha256 = "{"0" * 64}"\n')
    flags = ("--dialect", f"wasmrun=0.0.0.0:{port}", "--dialect-option", f"wasmrun.auth={tenants}")
    with serving(tmp_path / "data", *flags):
        assert httpx.get(f"http://127.0.0.1:{port}/sessions").status_code == 401
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200


@pytest.mark.needs("wasm")
def test_sessions_outlive_a_server_that_is_killed(tmp_path: Path) -> None:
    def api(server: Server) -> httpx.Client:
        return httpx.Client(base_url=f"{server.url}/wasmrun", timeout=30)

    with serving(tmp_path / "data") as server, api(server) as client:
        limits = {"limits": {"max_file_size_mb": 1}}
        session = client.post("/sessions", json=limits).json()["session_id"]
        other = client.post("/sessions").json()["session_id"]
        client.post(f"/sessions/{session}/files", json={"path": "a", "content": "kept"})
        client.post(f"/sessions/{session}/exec", json={"command": "export A=b"})
        assert _holds_the_engine(client, session)
        server.process.kill()
        server.process.wait(15)
    with serving(tmp_path / "data") as server, api(server) as client:
        read = client.get(f"/sessions/{session}/files", params={"path": "a"})
        assert read.json()["content"] == "kept"
        assert client.get(f"/sessions/{session}/env").json() == {"env": {"A": "b"}}
        assert _holds_the_engine(client, session)
        big = {"path": "b", "content": "x" * (1024 * 1024 + 1)}
        answer = client.post(f"/sessions/{session}/files", json=big)
        assert "File size limit exceeded" in answer.json()["error"]
        listed = client.get("/sessions").json()["sessions"]
        assert [each["session_id"] for each in listed] == [other, session]
        assert client.delete(f"/sessions/{other}").status_code == 200
        assert client.get(f"/sessions/{other}").status_code == 404


def _holds_the_engine(client: httpx.Client, session: str) -> bool:
    """Whether programs of a session are forked where WebAssembly's engine is imported."""
    body = {"source": "import sys; print('wasmtime' in sys.modules)", "language": "python"}
    said: str = client.post(f"/sessions/{session}/exec", json=body).json()["stdout"]
    return said == "True\n"
