"""agentkernel's document, taken at its word: no status or body that it does not mention.

`openapi.json` has its facts: paths, parameters, schemas and statuses.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.e2e.server import Server

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
DOCUMENT = json.loads(Path(__file__).with_name("openapi.json").read_text())
API: Any = schemathesis.openapi.from_dict(DOCUMENT)
OPERATIONS = [found.ok() for found in API.get_all_operations()]

pytestmark = [
    pytest.mark.needs("userns"),
    pytest.mark.timeout(120),
    pytest.mark.parity("openapi", "statuses"),
]


def _id(operation: Any) -> str:
    return str(operation.definition.raw["operationId"])


@pytest.fixture(scope="module")
def server(place: tuple[Server, str]) -> str:
    """The address of a dialect that has a sandbox called `box`."""
    url = place[1]
    assert httpx.post(f"{url}/sandboxes", json={"name": "box"}).status_code == 201
    httpx.put(f"{url}/sandboxes/box/files/workspace/a", json={"content": "1"})
    return url


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
@pytest.mark.parametrize("operation", OPERATIONS, ids=_id)
def test_answers_are_the_documents(operation: Any, mode: GenerationMode, server: str) -> None:
    @settings(
        max_examples=6,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        parameters = case.path_parameters or {}
        if _id(operation) != "deleteSandbox" and len(str(parameters.get("name", ""))) % 2:
            parameters["name"] = "box"
        answer = case.call(base_url=server, timeout=30)
        if answer.status_code == 404 and answer.json()["error"] == "Not found":
            return  # a path or method that is none of the document's
        case.validate_response(answer, checks=CHECKS)
        assert answer.json().get("error") != "Internal error"

    # Operations without input have nothing that could be wrong.
    with contextlib.suppress(Unsatisfiable):
        check()


def test_the_document_is_whole() -> None:
    assert len(OPERATIONS) == 12
