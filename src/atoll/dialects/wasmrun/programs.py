"""What a request wants to be executed, and the program that does it. Starts nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from atoll.core.errors import InvalidRequest
from atoll.core.model import WORKSPACE
from atoll.dialects.wasmrun.errors import BadRequest
from atoll.dialects.wasmrun.files import content_of, place
from atoll.dialects.wasmrun.limits import SessionLimits
from atoll.dialects.wasmrun.schemas import ExecIn
from atoll.dialects.wasmrun.tsconfig import engine_config
from atoll.service.paths import relative_files

ENGINE_FILES = "/opt/atoll/wasmrun"
SCRATCH = "/tmp/.wasmrun"  # noqa: S108 - in the sandbox, which is one tenant's
REPORT = f"{SCRATCH}/report.json"
_CODE = f"{SCRATCH}/code"
_CONFIG = f"{SCRATCH}/deno.json"
_SHOWN = "javascript, js, nodejs, typescript, ts, tsx"
_ENDINGS: Mapping[str, str] = {
    "javascript": ".js",
    "js": ".js",
    "nodejs": ".js",
    "typescript": ".ts",
    "ts": ".ts",
    "tsx": ".tsx",
    "python": ".py",
    "python3": ".py",
    "py": ".py",
}
_SYNTAX = re.compile(
    r"error: (?:Uncaught (?:\(in promise\) )?SyntaxError: )?"
    r"(?:SyntaxError: )?(?P<message>[^\n]*)\n(?:[^\n]*\|[^\n]*\n)+"
    rf"\s+at file://{WORKSPACE}/(?P<place>[^\n]+\.tsx?:\d+:\d+)"
)


class Engine(StrEnum):
    """Who executes it."""

    SHELL = "shell"
    SCRIPT = "script"
    PYTHON = "python"
    WASM = "wasm"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be executed: a line, or a file of the session, and what is written before."""

    engine: Engine
    entry: str
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])


@dataclass(frozen=True, slots=True)
class Program:
    """A program to start in the sandbox."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    files: Mapping[str, bytes]


def wanted(body: ExecIn) -> Wanted:
    """Which of the four forms it is. `BadRequest` says what is missing."""
    if body.command is not None:
        return Wanted(Engine.SHELL, body.command)
    if body.files is not None:
        return _project(body.files, body.entry, _ending(body.language))
    if body.source is not None:
        name = f"_run_{_ending(body.language)}"
        return Wanted(_engine_of(name), name, {name: content_of(body.source, "utf-8")})
    if body.wasm_path is not None:
        if body.function == "":
            raise BadRequest("function is empty; leave it out to run the module's _start")
        return Wanted(Engine.WASM, place(body.wasm_path))
    raise BadRequest("Missing command, wasm_path, source, or files")


def script(body: ExecIn, found: Wanted, limits: SessionLimits, tsconfig: bytes | None) -> Program:
    """JavaScript and TypeScript."""
    heap = limits.max_memory_mb
    argv = (
        "deno", "run", "--quiet", "--no-prompt", "--allow-all", "--no-remote", "--no-lock",
        "--config", _CONFIG, "--preload", f"{ENGINE_FILES}/preload.mjs",
        *((f"--v8-flags=--max-old-space-size={heap}",) if heap else ()),
        f"{WORKSPACE}/{found.entry}", *body.args,
    )  # fmt: skip
    env = {
        "ATOLL_SESSION_ROOT": WORKSPACE,
        "DENO_DIR": f"{SCRATCH}/deno",
        "DENO_COMPAT": "1",
        "DENO_NO_UPDATE_CHECK": "1",
        "NO_COLOR": "1",
    }
    return Program(argv, env, {**found.files, _CONFIG: engine_config(tsconfig)})


def python(body: ExecIn, found: Wanted) -> Program:
    """Python."""
    return Program(("python3", f"{WORKSPACE}/{found.entry}", *body.args), {}, found.files)


def module(
    body: ExecIn, found: Wanted, limits: SessionLimits, code: tuple[str, bytes] | None
) -> Program:
    """WebAssembly, binary or text; with what proves its compiled code, and that."""
    options = ["--root", WORKSPACE, "--report", REPORT, "--brief", "--wall-s", str(body.timeout)]
    if limits.max_memory_mb:
        options += ["--memory-mb", str(limits.max_memory_mb)]
    if limits.max_fuel:
        options += ["--fuel", str(limits.max_fuel)]
    if body.function is not None:
        options += ["--invoke", body.function]
    files = {REPORT: b""}
    if code is not None:
        options += ["--code", _CODE, "--proof", code[0]]
        files[_CODE] = code[1]
    return Program(("atoll-wasm", *options, found.entry, *body.args), {}, files)


def transpile_error(stderr: str) -> str | None:
    """What the engine says of TypeScript that it cannot read, as this API says it."""
    hit = _SYNTAX.match(stderr)
    if hit is None:
        return None
    return f"TypeScript transpilation failed: {hit['place']}: {hit['message']}"


def _ending(language: str | None) -> str:
    ending = _ENDINGS.get("javascript" if language is None else language.lower())
    if ending is None:
        raise BadRequest(f"Unsupported language: '{language}'. Supported languages: {_SHOWN}")
    return ending


def _project(files: Mapping[str, str], entry: str | None, ending: str) -> Wanted:
    if entry is None:
        raise BadRequest("'entry' is required with 'files'")
    if entry not in files:
        raise BadRequest(f"Entry '{entry}' not found in 'files' map")
    named = {_relative(path): content_of(text, "utf-8") for path, text in files.items()}
    try:
        checked = relative_files(named)
    except InvalidRequest as error:
        raise BadRequest(error.detail) from None
    name = _relative(entry)
    engine = Engine.PYTHON if ending == ".py" else _engine_of(name)
    return Wanted(engine, name, checked)


def _relative(path: str) -> str:
    inside = place(path).removeprefix(WORKSPACE).removeprefix("/")
    if not inside:
        raise BadRequest(f"Invalid path: '{path}'")
    return inside


def _engine_of(name: str) -> Engine:
    return Engine.PYTHON if name.endswith(".py") else Engine.SCRIPT
