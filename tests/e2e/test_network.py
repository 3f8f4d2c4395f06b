"""A network, from the operator's configuration to a request, changed, refused and after kill -9."""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import Server, serving
from tests.security.network import outside

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.needs("root", "userns", "netns", "nft", "ipv6"),
]

REACH = "import socket; print(socket.create_connection(('%s', %d), 5).recv(9) != b'')"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    file = tmp_path_factory.mktemp("config") / "atoll.toml"
    file.write_text('network_modes = ["none", "allow"]\ndefault_profile = "restrictive"\n')
    with outside.hosts():
        yield file


def call(server: Server, method: str, path: str, body: object = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{server.url}{path}", data, method=method)
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def reaches(server: Server, sandbox: str) -> bool:
    code = REACH % (outside.OPEN4, outside.PORT)
    _, said = call(
        server, "POST", f"/v1/sandboxes/{sandbox}/exec", {"argv": ["python3", "-c", code]}
    )
    return bool(said["stdout"] == "True\n")


def links() -> str:
    return subprocess.run(["ip", "-brief", "link"], check=True, capture_output=True).stdout.decode()


def test_a_network_from_the_request_to_the_end(config: Path, tmp_path: Path) -> None:
    before = links()
    tmp_path.chmod(0o755)
    with serving(tmp_path / "data", "--config", str(config)) as server:
        code, said = call(server, "POST", "/v1/sandboxes", {"network": {"mode": "internet"}})
        assert (code, said["code"]) == (403, "forbidden")
        wrong = {"network": {"mode": "allow", "allow": ["10.0.0.1", "10.0.0.1/8"]}}
        code, said = call(server, "POST", "/v1/sandboxes", wrong)
        assert (code, said["field"]) == (422, "network.allow.1")

        allowed = {"mode": "allow", "allow": [outside.OPEN4]}
        code, made = call(server, "POST", "/v1/sandboxes", {"network": allowed})
        assert (code, made["network"]["allow"]) == (201, [outside.OPEN4])
        path = f"/v1/sandboxes/{made['id']}/network"
        assert call(server, "GET", path)[1]["addresses"][0].startswith("100.64.")
        assert reaches(server, made["id"])

        code, said = call(server, "PUT", path, {"mode": "allow", "allow": [outside.OTHER4]})
        assert (code, said["allow"]) == (200, [outside.OTHER4])
        assert not reaches(server, made["id"])
        deadline = time.monotonic() + 30
        while True:
            _, events = call(server, "GET", f"/v1/sandboxes/{made['id']}/events?limit=100")
            if any(each["action"] == "network.denied" for each in events["items"]):
                break
            assert time.monotonic() < deadline
            time.sleep(0.5)  # waits on purpose: the server looks every few seconds

        call(server, "POST", f"/v1/sandboxes/{made['id']}/stop")
        assert call(server, "PUT", path, allowed)[1]["addresses"] == []
        assert reaches(server, made["id"])
        run = {
            "language": "python",
            "code": REACH % (outside.OPEN4, outside.PORT),
            "network": allowed,
        }
        assert call(server, "POST", "/v1/execute", run)[1]["stdout"] == "True\n"
        run["network"] = {"mode": "allow"}
        assert call(server, "POST", "/v1/execute", run)[1]["exit_code"] == 1

        server.process.send_signal(signal.SIGKILL)
        server.process.wait(30)
    with serving(tmp_path / "data", "--config", str(config)) as server:
        assert call(server, "GET", path)[1]["allow"] == [outside.OPEN4]
        assert reaches(server, made["id"])
        assert call(server, "DELETE", f"/v1/sandboxes/{made['id']}")[0] == 200
        assert server.stop() == 0
    assert links() == before
