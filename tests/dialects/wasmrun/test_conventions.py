"""Paths, headers, errors: what holds for every route."""

import re
from pathlib import Path

import pytest

from tests.dialects.wasmrun.rig import Session, Spoken, speaking_wasmrun

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]
NOBODY = "0" * 32


@pytest.mark.parity("prefix")
async def test_the_prefix_may_be_left_out(spoken: Spoken) -> None:
    for path in ("/health", "/sessions", "/tools"):
        with_prefix = await spoken.native.get(f"/wasmrun/api/v1{path}")
        without = await spoken.native.get(f"/wasmrun{path}")
        assert with_prefix.status_code == without.status_code == 200
        assert with_prefix.json().__class__ is without.json().__class__


@pytest.mark.parity("options-method", "headers", "successes")
async def test_every_answer_has_the_headers(spoken: Spoken, session: Session) -> None:
    preflight = await spoken.client.options("/whatever/there/is")
    assert (preflight.status_code, preflight.content) == (204, b"")
    made = await spoken.client.post("/sessions")
    wrong = await spoken.client.get("/nope")
    for answer, status in ((preflight, 204), (made, 200), (wrong, 404)):
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "http://127.0.0.1"
        assert answer.headers["access-control-allow-methods"] == "GET, POST, DELETE, OPTIONS"
        assert answer.headers["access-control-allow-headers"] == "Content-Type, Authorization"
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
        assert len(answer.headers.get_list("x-request-id")) == 1
    assert made.headers["content-type"] == "application/json"
    await spoken.client.delete(f"/sessions/{made.json()['session_id']}")


@pytest.mark.parity("options.cors")
async def test_cors_is_a_switch(tmp_path: Path) -> None:
    async with speaking_wasmrun(tmp_path, allow_cors=True) as spoken:
        assert (await spoken.client.get("/health")).headers["access-control-allow-origin"] == "*"


@pytest.mark.parity("error-shape", "errors.404")
@pytest.mark.parametrize(
    ("method", "path", "text"),
    [
        ("GET", "/nope", "Not found: Unknown endpoint: /api/v1/nope"),
        ("PATCH", "/sessions", "Not found: Unknown endpoint: /api/v1/sessions"),
        ("GET", f"/sessions/{NOBODY}", f"Session not found: {NOBODY}"),
        ("DELETE", f"/sessions/{NOBODY}", f"Session not found: {NOBODY}"),
        ("GET", f"/sessions/{NOBODY}/env", f"Session not found: {NOBODY}"),
        ("GET", f"/sessions/{NOBODY}/files", f"Session not found: {NOBODY}"),
    ],
)
async def test_what_is_not_there(spoken: Spoken, method: str, path: str, text: str) -> None:
    answer = await spoken.client.request(method, path)
    assert answer.status_code == 404
    assert answer.json() == {"error": text, "code": 404}


@pytest.mark.parity("errors.400")
@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "nul",
        '{"limits": 3}',
        '{"limits":{"max_fuel":"x"}}',
        '{"limits":{"max_fuel":-1}}',
    ],
)
async def test_a_wrong_body(spoken: Spoken, body: str) -> None:
    answer = await spoken.client.post("/sessions", content=body)
    assert answer.status_code == 400
    found = answer.json()
    assert found["code"] == 400
    assert found["error"].startswith("Bad request: ")


@pytest.mark.parity("errors.400")
@pytest.mark.parametrize(
    "body",
    ['"x"', "{}", '{"command": 3}', '{"command":"ls","timeout":0}', '{"source":"1","args":[1]}',
     '{"command":"ls","env":{"A":1}}', '{"command":"ls","env":{"A=B":"x"}}', "\xff",
     '{"files":{"a":1},"entry":"a"}', '{"source":"\\ud800"}'],
)  # fmt: skip
async def test_a_wrong_execution(spoken: Spoken, session: Session, body: str) -> None:
    raw = body.encode("latin-1")
    answer = await spoken.client.post(f"/sessions/{session.id}/exec", content=raw)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"].startswith("Bad request: ")


@pytest.mark.parity("errors.413", "options.body", "errors.408")
async def test_a_body_that_is_too_large(tmp_path: Path) -> None:
    async with speaking_wasmrun(tmp_path, max_body_mb=1) as spoken:
        answer = await spoken.client.post("/sessions", content=b"x" * (1024 * 1024 + 1))
        assert answer.status_code == 413
        text = "Request body too large: exceeds 1048576 byte limit"
        assert answer.json() == {"error": text, "code": 413}
        assert (await spoken.client.post("/sessions", content=b"")).status_code == 200


@pytest.mark.parity("query-decoding")
async def test_queries_are_utf8(spoken: Spoken, session: Session) -> None:
    await session.write("größe & mehr.txt", "x")
    raw = f"/sessions/{session.id}/files?path=gr%C3%B6%C3%9Fe+%26%20mehr.txt"
    assert (await spoken.client.get(raw)).json() == {"path": "größe & mehr.txt", "content": "x"}
