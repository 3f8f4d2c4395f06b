"""The description, taken at its word: no 5xx, no status or body that it does not mention."""

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
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


API: Any = schemathesis.openapi.from_dict(document())
OPERATIONS = [found.ok() for found in API.get_all_operations()]


def _id(operation: Any) -> str:
    return str(operation.definition.raw["operationId"])


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("operation", OPERATIONS, ids=_id)
def test_the_api_is_as_described(operation: Any, mode: GenerationMode, server: str) -> None:
    """Every answer is one that the description announces, also to what it does not allow."""

    @settings(
        max_examples=8,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        parameters = case.path_parameters or {}
        if _id(operation) not in NOT_IN_THE_BOX and len(str(parameters.get("sandbox", ""))) % 2:
            parameters["sandbox"] = "box"
            if "pid" in parameters:
                parameters["pid"] = 1
        case.call_and_validate(base_url=server, checks=CHECKS, timeout=10)

    # Operations without input have nothing that could be wrong.
    with contextlib.suppress(Unsatisfiable):
        check()


def test_the_description_is_complete() -> None:
    names = [_id(operation) for operation in OPERATIONS]
    assert len(names) == len(set(names)) == 62
    assert document()["openapi"] == "3.1.0"
    for operation in OPERATIONS:
        raw = operation.definition.raw
        assert raw["summary"], raw
        assert raw["description"], raw
        assert raw["tags"], raw
        good = [status for status in raw["responses"] if status < "300"]
        assert good, raw
        assert "422" in raw["responses"]


def test_every_reference_resolves() -> None:
    described = document()
    names = set(re.findall(r"#/components/schemas/([\w-]+)", json.dumps(described)))
    assert names <= described["components"]["schemas"].keys()
