"""The README's examples, run as they are written."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.server import ATOLL, Server

README = (Path(__file__).parents[2] / "README.md").read_text()
pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


def _blocks(language: str, containing: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)
    return [block for block in found if containing in block]


def _run(server: Server, argv: list[str], directory: Path) -> str:
    environment = {
        "PATH": f"{ATOLL.parent}:{os.environ['PATH']}",
        "HOME": str(directory),
        "LANG": "C.UTF-8",
        "ATOLL_URL": server.url,
    }
    done = subprocess.run(
        argv,
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def _shell(server: Server, script: str, directory: Path) -> str:
    script = script.replace("localhost:8000", server.address)
    return _run(server, ["bash", "-euo", "pipefail", "-c", script], directory)


@pytest.mark.needs("cmd:curl")
def test_execute(server: Server, tmp_path: Path) -> None:
    (example,) = _blocks("sh", "/v1/execute -H")
    answer = json.loads(_shell(server, example, tmp_path))
    assert answer["stdout"] == "2\n"
    assert (answer["exit_code"], answer["reason"]) == (0, "exited")


@pytest.mark.needs("cmd:curl")
def test_stream(server: Server, tmp_path: Path) -> None:
    (example,) = _blocks("sh", "/v1/execute/stream")
    events = re.findall(r"^event: (\S+)$", _shell(server, example, tmp_path), re.MULTILINE)
    assert events[-1] == "exit"
    assert events.count("stdout") == 3


@pytest.mark.needs("cmd:curl")
def test_sandbox(server: Server, tmp_path: Path) -> None:
    (example,) = _blocks("sh", "/v1/sandboxes -H")
    said = _shell(server, example, tmp_path)
    assert '"stdout":"HELLO"' in said.replace(": ", ":")
    assert said.count("HELLO") == 2, "once from the program, once from the file"
    gone = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"{server.url}/v1/sandboxes/demo"],
        capture_output=True, text=True, timeout=10, check=True,
    )  # fmt: skip
    assert gone.stdout in {"404", "410"}


def test_python(server: Server, tmp_path: Path) -> None:
    (example,) = _blocks("python", "from atoll.client")
    script = example.replace("localhost:8000", server.address)
    assert _run(server, [sys.executable, "-c", script], tmp_path) == "2\n\n"


def test_shell(server: Server, tmp_path: Path) -> None:
    (example,) = _blocks("sh", "atoll exec")
    script = example.replace("atoll sandbox shell demo", "atoll sandbox rm demo")
    said = _shell(server, script, tmp_path)
    assert said.startswith("2\n")
    assert "workspace" in said
