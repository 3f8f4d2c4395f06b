"""The description, taken at its word: no 5xx, no status or body that it does not mention."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from atoll.http.app import document

ROOT = Path(__file__).parent.parent.parent
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# In a sandbox that is there these wait for as long as their client does, or end it.
NOT_IN_THE_BOX = {"watch_files", "read_output", "wait_process", "destroy_sandbox"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, with a sandbox called `box` that has seen a process."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.http.fake_server", str(tmp_path_factory.mktemp("data"))],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://[\d.:]+", process.stdout.readline())
            assert found is not None
            url = found[0]
            assert httpx.post(f"{url}/v1/sandboxes", json={"name": "box"}).status_code == 201
            httpx.post(f"{url}/v1/sandboxes/box/processes", json={"argv": ["true"]})
            httpx.put(f"{url}/v1/sandboxes/box/files/a", content=b"1")
            yield url
        finally:
            process.terminate()


API = schemathesis.openapi.from_dict(document())


@API.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_is_as_described(case: Any, server: str) -> None:
    name = case.operation.definition.raw["operationId"]
    parameters = case.path_parameters or {}
    if name not in NOT_IN_THE_BOX and len(str(parameters.get("sandbox", ""))) % 2:
        parameters["sandbox"] = "box"
        if "pid" in parameters:
            parameters["pid"] = 1
    case.call_and_validate(base_url=server, checks=CHECKS, timeout=5)
