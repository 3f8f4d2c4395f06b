"""Executions in their four forms, how they end, and their limits."""

import base64
from pathlib import Path
from typing import Any

import anyio
import pytest

from atoll.dialects.wasmrun import modules
from tests.dialects.wasmrun.rig import Session, Spoken, speaking_wasmrun

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "deno")]
# (module (func (export "_start"))), as an assembler writes it.
EMPTY = bytes.fromhex("0061736d0100000001040160000003020100070a01065f7374617274 00000a040102000b")
WAT = """(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "trap") unreachable)
  (func (export "grow") (result i32)
    (loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable)
  (func (export "spin") (loop $l (br $l)))
  (func (export "_start") (call $exit (i32.const 7))))"""


@pytest.mark.parity("exec.order")
async def test_the_first_form_counts(session: Session) -> None:
    nothing = await session.exec(400, args=["x"])
    assert nothing == {
        "error": "Bad request: Missing command, wasm_path, source, or files",
        "code": 400,
    }
    all_four = {
        "command": "echo command",
        "files": {"m.js": "console.log('files')"},
        "entry": "m.js",
        "source": "console.log('source')",
        "wasm_path": "m.wasm",
    }
    for form, dropped in (("command", "command"), ("files", "files"), ("source", "source")):
        assert (await session.exec(**all_four))["stdout"] == f"{form}\n"
        del all_four[dropped]
    assert (await session.exec(404, **all_four))["code"] == 404


@pytest.mark.parity("exec.command")
async def test_a_command(session: Session) -> None:
    found = await session.exec(command="echo hi > a; cat a")
    assert found.pop("duration_ms") >= 0
    assert found == {"stdout": "hi\n", "stderr": "", "exit_code": 0}


@pytest.mark.parity("exec.files")
async def test_a_project(session: Session) -> None:
    files = {
        "src/main.ts": "import { twice } from './lib/twice.js'; console.log(twice(21));",
        "src/lib/twice.ts": "export const twice = (n: number): number => 2 * n;",
    }
    assert (await session.exec(files=files, entry="src/main.ts"))["stdout"] == "42\n"
    assert (await session.read("src/lib/twice.ts")).status_code == 200
    for body, text in (
        ({"files": files}, "'entry' is required with 'files'"),
        ({"files": files, "entry": "x"}, "Entry 'x' not found in 'files' map"),
        ({"files": {"../x.js": ""}, "entry": "../x.js"}, "Path traversal not allowed"),
    ):
        assert (await session.exec(400, **body))["error"] == f"Bad request: {text}"
    both = await session.exec(400, files={"a": "", "a/b": ""}, entry="a")
    assert both["error"].startswith("Bad request: ")


@pytest.mark.parity("exec.source", "exec.language")
async def test_sources(session: Session) -> None:
    sources = {
        "javascript": "console.log(1)",
        "js": "console.log(1)",
        "nodejs": "console.log(1)",
        "typescript": "const n: number = 1; console.log(n)",
        "ts": "enum E { A = 1 } console.log(E.A)",
        "tsx": "const React = { createElement: () => 1 }; console.log(<a/>)",
    }
    for language, source in sources.items():
        assert await session.printed(source, language=language) == "1\n", language
    for name in ("_run_.js", "_run_.ts", "_run_.tsx"):
        assert (await session.read(name)).status_code == 200
    text = (
        "Bad request: Unsupported language: 'cobol'. Supported languages: "
        "javascript, js, nodejs, typescript, ts, tsx"
    )
    assert await session.exec(400, source="x", language="cobol") == {"error": text, "code": 400}


@pytest.mark.parity("beyond.python")
async def test_python(session: Session) -> None:
    source = "import sys; print(sys.argv[1:], sys.stdin.read()); sys.exit(4)"
    found = await session.exec(source=source, language="python", args=["a"], stdin="in")
    assert (found["stdout"], found["exit_code"]) == ("['a'] in\n", 4)
    project = {"main.py": "import other; print(other.x)", "other.py": "x = 5"}
    assert (await session.exec(files=project, entry="main.py"))["stdout"] == "5\n"


@pytest.mark.needs("wasm")
@pytest.mark.parity("exec.wasm", "exec.function")
async def test_modules(session: Session) -> None:
    await session.write("empty.wasm", base64.b64encode(EMPTY).decode(), encoding="base64")
    assert (await session.exec(wasm_path="empty.wasm"))["exit_code"] == 0
    await session.write("m.wat", WAT)
    assert (await session.exec(wasm_path="/m.wat"))["exit_code"] == 7
    added = await session.exec(wasm_path="m.wat", function="add", args=["2", "40"])
    assert (added["exit_code"], added["results"]) == (0, [42])
    missing = await session.exec(404, wasm_path="nope.wasm")
    assert missing["error"].startswith("Not found: nope.wasm")


@pytest.mark.needs("wasm")
@pytest.mark.parity("exec.traps")
async def test_modules_that_fail(spoken: Spoken) -> None:
    session = await spoken.session(max_fuel=100_000, max_memory_mb=16)
    await session.write("m.wat", WAT)
    await session.write("bad.wasm", "this is no module")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"function": "trap"}, "unreachable"),
        ({"function": "spin"}, "Instruction limit exceeded: 100000"),
        ({"function": "grow"}, "Memory limit exceeded: 16 MB"),
        ({"function": "nope"}, "Function not found"),
        ({"function": "add", "args": ["x", "1"]}, "Bad request: "),
        ({"function": "add", "args": ["1"]}, "Bad request: "),
        ({"wasm_path": "bad.wasm"}, "Internal error: Failed to parse WASM module: "),
    ]
    for body, text in cases:
        found = await session.exec(**{"wasm_path": "m.wat", **body})
        assert found["exit_code"] == -1, body
        assert text in found["error"], found
    await spoken.client.delete(f"/sessions/{session.id}")
    timed = await spoken.session()
    await timed.write("m.wat", WAT)
    late = await timed.exec(wasm_path="m.wat", function="spin", timeout=1)
    assert (late["exit_code"], late["error"]) == (-1, "Execution timed out after 1s")
    await spoken.client.delete(f"/sessions/{timed.id}")


@pytest.mark.parity("exec.timeout")
async def test_the_timeout(session: Session) -> None:
    late = await session.exec(source="console.log('begun'); for(;;);", timeout=1)
    assert late["error"] == "Execution timed out after 1s"
    assert late["exit_code"] == -1
    assert late["stdout"] == "begun\n"
    assert (await session.exec(400, source="1", timeout=10**6))["code"] == 400


@pytest.mark.parity("exec.env", "exec.stdin", "exec.exit")
async def test_env_stdin_and_exit(session: Session) -> None:
    source = "console.log(process.env.A, require('fs').readFileSync(0, 'utf8')); process.exit(3)"
    found = await session.exec(source=source, env={"A": "kept"}, stdin="fed")
    assert (found["stdout"], found["exit_code"]) == ("kept fed\n", 3)
    assert "error" not in found
    again = await session.exec(source=source)
    assert again["stdout"] == "kept \n"


@pytest.mark.parity("exec.truncated")
async def test_output_is_cut(spoken: Spoken) -> None:
    session = await spoken.session(max_output_mb=1)
    found = await session.exec(source="for (;;) console.log('x'.repeat(1e5))")
    assert found["output_truncated"] is True
    assert len(found["stdout"]) == 1024 * 1024
    assert found["error"] == "Output limit exceeded: 1 MB"
    await spoken.client.delete(f"/sessions/{session.id}")


@pytest.mark.parity("options.exec")
async def test_the_cap_of_executions(tmp_path: Path) -> None:
    async with speaking_wasmrun(tmp_path, max_concurrent_exec=1) as spoken:
        one, other = await spoken.session(), await spoken.session()
        async with anyio.create_task_group() as group:

            async def wait() -> None:
                await one.exec(source="import time; time.sleep(30)", language="python", timeout=1)

            group.start_soon(wait)
            while not spoken.dialect.here.metrics.executing:
                await anyio.sleep(0)
            text = "Too many concurrent executions: limit is 1"
            assert await other.exec(429, command="ls") == {"error": text, "code": 429}
            ready = (await spoken.client.get("/ready")).json()
            assert ready == {"status": "unready", "reason": "at_exec_capacity"}
        assert (await other.exec(command="pwd"))["stdout"] == "/\n"
        assert 'reason="concurrency"} 1' in (await spoken.client.get("/metrics")).text


async def test_a_wrong_execution_leaves_nothing_behind(session: Session) -> None:
    await session.exec(400, source="x", env={"A": "1", "": "2"})
    await session.exec(400, source="x", dependencies={"No Good": "1"})
    assert (await session.read("_run_.js")).status_code == 404
    assert (await session.client.get(f"/sessions/{session.id}/env")).json() == {"env": {}}


_FIELDS = (
    "command wasm_path source files entry language function args timeout env stdin stream "
    "dependencies lockfile install_package_json install_dev_dependencies"
).split()
_VALUES: tuple[Any, ...] = (
    0, -1, 2**70, 1.5, True, "", "x", "\0", "../..", "ü" * 5000, [], [[]], ["\0"], {}, {"": ""},
    {"a": None}, {"a": "b"}, {"../a": "b"}, {"a": {"b": "c"}}, {"\0": "\0"},
)  # fmt: skip


@pytest.mark.parametrize("field", _FIELDS)
async def test_odd_values_are_never_our_failure(session: Session, field: str) -> None:
    # Without a registry, dependencies that could be are nobody's fault but the host's.
    allowed = {200, 400, 404, *([500] if field == "dependencies" else [])}
    for value in _VALUES:
        body: dict[str, Any] = {"language": "python", "timeout": 1, field: value}
        if field not in {"command", "files", "wasm_path", "entry"}:
            body.setdefault("source", "pass")
        answer = await session.client.post(f"/sessions/{session.id}/exec", json=body)
        assert answer.status_code in allowed, (value, answer.text)
        if answer.status_code != 200:
            assert set(answer.json()) == {"error", "code"}, value
    assert (await session.exec(command="pwd"))["stdout"] == "/\n"


async def test_executions_of_a_session_take_turns(session: Session) -> None:
    source = (
        "import os, time; assert not os.path.exists('busy'); open('busy', 'w');"
        "time.sleep(.2); os.remove('busy')"
    )
    results: list[dict[str, Any]] = []

    async def one() -> None:
        results.append(await session.exec(source=source, language="python"))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(one)
    assert [each["exit_code"] for each in results] == [0, 0, 0]


async def test_a_failed_start_changes_nothing(session: Session) -> None:
    await session.exec(404, wasm_path="nope", env={"A": "1"})
    answer = await session.client.get(f"/sessions/{session.id}/env")
    assert answer.json() == {"env": {}}
    assert (await session.exec(command="echo a", language="cobol"))["stdout"] == "a\n"


def _large(answer: int) -> str:
    """A module that takes long to compile, and a function of it that does not take long to run."""
    step = "(local.set 0 (i32.mul (i32.add (local.get 0) (i32.const 7)) (i32.const 9)))"
    mixed = step * 50
    idle = "".join(f"(func (param i32) (result i32) {mixed} local.get 0)" for _ in range(200))
    return f'(module {idle} (func (export "f") (result i32) (i32.const {answer})))'


@pytest.mark.needs("wasm")
@pytest.mark.parity("exec.wasm")
async def test_a_module_that_is_slow_to_compile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modules, "SLOW_S", 0.0)  # on a quick machine it is not slow enough
    async with speaking_wasmrun(tmp_path) as spoken:
        session = await spoken.session()
        known = spoken.dialect.here.sessions.everyone()[0].slow
        await session.write("m.wat", _large(1))
        for _ in range(3):
            assert (await session.exec(wasm_path="m.wat", function="f"))["results"] == [1]
        first = known["/m.wat"]
        assert first is not None
        stored = list((tmp_path / "wasm" / "code").glob(f"*/{first.module}-plain-*"))
        assert len(stored) == 1
        # It is what runs: other code under that name is not taken, and what the name stood for is.
        stored[0].write_bytes(b"x" * 100)
        assert (await session.exec(wasm_path="m.wat", function="f"))["results"] == [1]
        # Another module in its place is not answered with the code of the first.
        await session.write("m.wat", _large(2))
        for _ in range(4):
            assert (await session.exec(wasm_path="m.wat", function="f"))["results"] == [2]
        second = known["/m.wat"]
        assert second is not None
        assert second.module != first.module
