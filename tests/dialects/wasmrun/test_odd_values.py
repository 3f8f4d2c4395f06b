"""Every field of every body with values that it may not have, and some that it may."""

import json
from collections.abc import AsyncGenerator

import httpx
import pytest

from tests.dialects.wasmrun.rig import Session, Spoken

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

# As JSON, since Python has no word for some.
VALUES = (
    "null", "0", "-1", "1.5", "1e400", "99999999999999999999999999", "true", "NaN", '""', '"x"',
    r'"\u0000"', r'"\ud800"', '"../x"', '"/"', "[]", "[null]", r'["\u0000"]', r'["\ud800"]', "[1]",
    "{}", '{"a":null}', r'{"a":"\u0000"}', r'{"\u0000":"a"}', r'{"\ud800":"a"}', r'{"a":"\ud800"}',
    '{"":""}', '{"a":{}}', '{"../a":"x"}',
    '{"a":"' + "y" * 200_000 + '"}', '"' + "y" * 200_000 + '"',
    '{"node_modules/a":{"version":"1","resolved":"x","integrity":"sha512-x"}}',
)  # fmt: skip
FORMS = ("command", "wasm_path", "source", "files")
FIELDS = (
    *FORMS, "entry", "language", "function", "args", "timeout", "env", "stdin", "stream",
    "dependencies", "lockfile", "install_package_json", "install_dev_dependencies",
)  # fmt: skip
LIMITS = ("max_memory_mb", "max_fuel", "max_output_mb", "max_file_size_mb", "max_disk_mb")


def _check(answer: httpx.Response, sent: str) -> None:
    """A success, or an error of this API's own shape that is the client's fault."""
    if answer.status_code == 200:
        return
    assert 400 <= answer.status_code < 500, (sent[:200], answer.text)
    assert answer.headers["content-type"] == "application/json"
    found = answer.json()
    assert set(found) == {"error", "code"}, sent[:200]
    assert found["code"] == answer.status_code
    assert len(found["error"]) <= 1000
    for word in ("Traceback", "pydantic", "atoll"):
        assert word not in found["error"], sent[:200]


@pytest.fixture
async def session(spoken: Spoken) -> AsyncGenerator[Session, None]:
    made = await spoken.session()
    yield made
    # Whatever it was told, it still works.
    assert (await made.exec(command="echo well"))["stdout"] == "well\n"
    await spoken.client.delete(f"/sessions/{made.id}")


@pytest.mark.parity("error-shape", "errors.400")
@pytest.mark.parametrize("field", FIELDS)
async def test_executions(session: Session, field: str) -> None:
    rest = '"language":"python"' if field in FORMS else '"command":"echo hi"'
    for value in VALUES:
        sent = f'{{{rest},"{field}":{value}}}'
        _check(await session.client.post(f"/sessions/{session.id}/exec", content=sent), sent)


@pytest.mark.parity("errors.400")
@pytest.mark.parametrize("field", ["path", "content", "encoding"])
async def test_files(session: Session, field: str) -> None:
    rest = json.dumps({"path": "p", "content": "x", field: "DROPPED"})
    for value in VALUES:
        sent = rest.replace('"DROPPED"', value)
        _check(await session.client.post(f"/sessions/{session.id}/files", content=sent), sent)


@pytest.mark.parity("errors.400")
async def test_variables(session: Session) -> None:
    for value in VALUES:
        for sent in (value, f'{{"A":{value}}}'):
            _check(await session.client.post(f"/sessions/{session.id}/env", content=sent), sent)


@pytest.mark.parity("errors.400")
@pytest.mark.parametrize("field", LIMITS)
async def test_limits(spoken: Spoken, field: str) -> None:
    for value in VALUES:
        sent = f'{{"limits":{{"{field}":{value}}}}}'
        answer = await spoken.client.post("/sessions", content=sent)
        _check(answer, sent)
        if answer.status_code == 200:
            await spoken.client.delete(f"/sessions/{answer.json()['session_id']}")


@pytest.mark.parity("errors.400", "errors.404")
async def test_paths_and_queries(spoken: Spoken, session: Session) -> None:
    words = ("%00", "%ff", "..", "%2e%2e/x", "/", "y" * 5000, "%ed%a0%80", ".", "a%2fb", "%0a")
    for word in words:
        for method in ("GET", "DELETE"):
            for path in (f"/sessions/{word}", f"/sessions/{session.id}x{word}/files?path=a"):
                _check(await spoken.client.request(method, path), path)
            for more in ("", "&list=true", "&encoding=base64"):
                path = f"/sessions/{session.id}/files?path={word}{more}"
                _check(await spoken.client.request(method, path), path)
        _check(await spoken.client.get(f"/tools?format={word}"), word)
        body = {"command": "ls"}
        _check(await spoken.client.post(f"/sessions/{word}/exec", json=body), word)


async def test_null_is_the_same_as_nothing(session: Session) -> None:
    nothing = dict.fromkeys(FIELDS[1:])
    assert (await session.exec(**{**nothing, "command": "echo hi"}))["stdout"] == "hi\n"


@pytest.mark.parity("exec.function")
async def test_a_function_without_a_name(session: Session) -> None:
    await session.write("m.wat", '(module (func (export "_start")))')
    found = await session.exec(400, wasm_path="m.wat", function="")
    assert found["error"].startswith("Bad request: function is empty")
