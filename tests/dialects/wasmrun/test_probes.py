"""Health, tools, metrics, and the server around them."""

from pathlib import Path
from typing import Any

import pytest

from atoll.core.errors import AtollError
from atoll.dialects import chosen
from atoll.dialects.wasmrun.errors import TABLE
from atoll.settings import SettingsError, load
from tests.dialects.wasmrun.rig import Session, Spoken, speaking_wasmrun

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]
TOOLS = {
    "create_session": [],
    "execute_code": ["session_id"],
    "write_file": ["session_id", "path", "content"],
    "read_file": ["session_id", "path"],
    "list_files": ["session_id"],
    "list_sessions": None,
    "destroy_session": ["session_id"],
}


@pytest.mark.parity("health", "ready")
async def test_health(spoken: Spoken) -> None:
    health = (await spoken.client.get("/health")).json()
    assert health["status"] == "ok"
    assert isinstance(health["version"], str)
    assert isinstance(health["uptime_seconds"], int)
    ready = await spoken.client.get("/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "reason": "ok"})


@pytest.mark.parity("tools.openai")
async def test_tools_for_openai(spoken: Spoken) -> None:
    found = (await spoken.client.get("/tools")).json()
    assert found == (await spoken.client.get("/tools?format=openai")).json()
    assert {each["type"] for each in found} == {"function"}
    _check({each["function"]["name"]: each["function"]["parameters"] for each in found})
    assert all(each["function"]["description"] for each in found)


@pytest.mark.parity("tools.anthropic")
async def test_tools_for_anthropic(spoken: Spoken) -> None:
    found = (await spoken.client.get("/tools?format=anthropic")).json()
    assert {tuple(each) for each in found} == {("name", "description", "input_schema")}
    _check({each["name"]: each["input_schema"] for each in found})
    wrong = await spoken.client.get("/tools?format=xml")
    assert wrong.status_code == 400


def _check(schemas: dict[str, dict[str, Any]]) -> None:
    assert {name: schema.get("required") for name, schema in schemas.items()} == TOOLS
    for schema in schemas.values():
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
    execute = schemas["execute_code"]["properties"]
    assert set(execute) == {
        "session_id", "command", "wasm_path", "source", "files", "entry", "language", "function",
        "args", "timeout", "env", "stdin", "stream", "dependencies", "lockfile",
        "install_package_json", "install_dev_dependencies",
    }  # fmt: skip
    languages = ["javascript", "js", "nodejs", "typescript", "ts", "tsx"]
    assert execute["language"]["enum"] == languages
    entry = execute["lockfile"]["additionalProperties"]
    assert set(entry["properties"]) == {"version", "resolved", "integrity"}


@pytest.mark.parity("metrics.text")
async def test_metrics(spoken: Spoken, session: Session) -> None:
    before = _numbers((await spoken.client.get("/metrics")).text)
    await session.exec(command="echo 1 > a")
    await session.exec(command="| broken")
    await session.exec(source="import time; time.sleep(9)", language="python", timeout=1)
    answer = await spoken.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    after = _numbers(answer.text)
    for result in ("success", "error", "timeout"):
        name = f'wasmrun_agent_exec_total{{result="{result}"}}'
        assert after[name] == before[name] + 1, result
    assert after["wasmrun_agent_exec_duration_ms_count"] == (
        before["wasmrun_agent_exec_duration_ms_count"] + 3
    )
    assert after["wasmrun_agent_exec_duration_ms_sum"] >= 1000
    assert after["wasmrun_agent_sessions_disk_bytes"] >= 2
    assert after["wasmrun_agent_requests_in_flight"] == 1
    for reason in ("concurrency", "payload", "unauthorized", "rate"):
        assert f'wasmrun_agent_exec_rejected_total{{reason="{reason}"}}' in after
    assert {
        "wasmrun_agent_output_truncated_total", "wasmrun_agent_sessions_created_total",
        "wasmrun_agent_sessions_active", "wasmrun_agent_sessions_total",
        "wasmrun_agent_exec_in_flight", "wasmrun_agent_workers_live",
    } <= set(after)  # fmt: skip


def _numbers(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


@pytest.mark.parity("metrics.json")
async def test_metrics_in_json(spoken: Spoken, session: Session) -> None:
    await session.write("x", "12345")
    found = (await spoken.client.get("/metrics?format=json")).json()
    mine = next(each for each in found["sessions"] if each["id"] == session.id)
    assert mine == {"id": session.id, "disk_bytes": 5, "memory_cap_pages": 4096}
    assert set(found["exec_total"]) == {"success", "error", "timeout"}


async def test_it_has_a_description_of_its_own(spoken: Spoken) -> None:
    found = (await spoken.client.get("/openapi.json")).json()
    assert "/sessions/{session_id}/exec" in found["paths"]
    native = (await spoken.native.get("/openapi.json")).json()
    assert not [path for path in native["paths"] if "wasmrun" in path]


def test_every_error_of_ours_has_a_row() -> None:
    kinds = [AtollError]
    for kind in kinds:
        kinds += [each for each in kind.__subclasses__() if each.__module__ == "atoll.core.errors"]
    assert set(TABLE) == set(kinds)


@pytest.mark.parity("options.workers")
@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ({"dialects": ("nope",)}, "dialects has 'nope'"),
        ({"dialects": ("wasmrun=127.0.0.1:8000",)}, "port 8000 of wasmrun is another's"),
        ({"dialect_options": {"nope": {}}}, "dialect_options has 'nope'"),
        ({"dialect_options": {"wasmrun": {"workers": 3}}}, "dialect_options.wasmrun.workers"),
        ({"dialect_options": {"wasmrun": {"timeout_s": -1}}}, "dialect_options.wasmrun.timeout_s"),
    ],
)
def test_wrong_settings_are_told(flags: dict[str, Any], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        chosen(load(flags, environ={}))


def test_options_of_the_command_line() -> None:
    words = ["wasmrun.timeout_s=5", "wasmrun.allow-cors=true", "wasmrun.max_fuel=7"]
    table = '{"wasmrun": {"timeout_s": 9, "max_sessions": 3}}'
    settings = load({}, environ={"ATOLL_DIALECT_OPTIONS": table}, dialect_options=words)
    options: Any = next(x for x in chosen(settings) if x.dialect.name == "wasmrun").options
    assert (options.timeout_s, options.max_sessions, options.max_fuel) == (5, 3, 7)
    assert options.allow_cors is True
    with pytest.raises(SettingsError, match=r"NAME\.OPTION=VALUE"):
        load({}, environ={}, dialect_options=["wasmrun"])


@pytest.mark.parity("drain", "ready")
async def test_while_the_server_drains(tmp_path: Path) -> None:
    async with speaking_wasmrun(tmp_path) as spoken:
        spoken.front.streams.end_followers()
        ready = await spoken.client.get("/ready")
        assert ready.status_code == 503
        assert ready.json() == {"status": "unready", "reason": "shutting_down"}
        late = await spoken.client.post("/sessions")
        assert (late.status_code, late.content) == (503, b"")
        assert (await spoken.client.get("/health")).status_code == 200
