"""The routes that run something in a VM."""

import re
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.model import WORKSPACE, Exit, ExitReason, ProcessSpec
from atoll.core.records import SandboxRecord
from atoll.dialects.rundatsheesh.bodies import EXEC, PROGRAM_BYTES, RUN_JS, RUN_TS, read
from atoll.dialects.rundatsheesh.errors import bad, guest_refused
from atoll.dialects.rundatsheesh.labels import notes
from atoll.dialects.rundatsheesh.names import vm_id
from atoll.dialects.rundatsheesh.state import State, reply, state
from atoll.dialects.rundatsheesh.who import admitted
from atoll.dialects.rundatsheesh.wishes import variables
from atoll.http.patience import while_connected
from atoll.service.caller import Caller
from atoll.service.scripts import Script, ScriptResult

router = APIRouter(prefix="/v1/vms/{vm}")
KEPT_BYTES = 1_000_000
USUAL_MS = 30_000
TIMED_OUT = -1
_TIMEOUT_TEXT = "\nTimeout exceeded"
_KILLED = 137
_SIGNALLED = 128
# A shell in the directory that was asked for; where that is none, in /workspace.
_SHELL = (
    'cd -- "$1" 2>/dev/null || cd /workspace; [ -x "$SHELL" ] || SHELL=/bin/sh; '
    'exec "$SHELL" -c "$2"'
)


@router.post("/exec")
async def execute(request: Request, vm: str) -> Response:
    """Run a command of the shell and answer when it has ended."""
    here = state(request)
    body = await read(request, EXEC, PROGRAM_BYTES)
    who = await admitted(request)
    record = await here.machines.running(who, vm)
    await here.bridges.ensure(who, record)
    millis = _millis(body, here.options.max_exec_timeout_ms, "maxExecTimeoutMs")
    began = here.services.clock.monotonic()
    work = _shell(here, who, record, body, millis)
    answer = await while_connected(request.receive, work)
    await _noted(here, record, "exec", body, answer, began)
    return reply(answer)


@router.post("/run-ts")
async def run_ts(request: Request, vm: str) -> Response:
    """Run TypeScript with deno."""
    return await _script(request, vm, "run-ts")


@router.post("/run-js")
async def run_js(request: Request, vm: str) -> Response:
    """Run JavaScript with node."""
    return await _script(request, vm, "run-js")


async def _shell(
    here: State, who: Caller, record: SandboxRecord, body: Mapping[str, Any], millis: int
) -> dict[str, Any]:
    spec = ProcessSpec(
        argv=("/bin/sh", "-c", _SHELL, "sh", body.get("cwd") or WORKSPACE, body["cmd"]),
        env=_env(body.get("env", {})),
        wall_s=millis / 1000,
        cpu_s=millis / 1000 * max(1.0, record.limits.cpus) + 1.0,
        keep_bytes=KEPT_BYTES,
    )
    for text in spec.argv:
        if "\0" in text:
            raise bad("body/cmd must not hold a NUL")
    result = await here.services.processes.run(who, record.id, spec)
    return answered(result.exit, result.stdout, result.stderr)


async def _script(request: Request, vm: str, call: str) -> Response:
    here = state(request)
    typescript = call == "run-ts"
    body = await read(request, RUN_TS if typescript else RUN_JS, PROGRAM_BYTES)
    who = await admitted(request)
    record = await here.machines.running(who, vm)
    await here.bridges.ensure(who, record)
    millis = _millis(body, here.options.max_runts_timeout_ms, "maxRunTsTimeoutMs")
    script = understood(here, record, body, call, millis)
    began = here.services.clock.monotonic()
    work = here.services.scripts.run(who, record.id, script)
    answer = told(await while_connected(request.receive, work))
    if typescript:
        answer |= {name: _ANSI.sub("", answer[name]) for name in ("stdout", "stderr")}
    await _noted(here, record, call, body, answer, began)
    return reply(answer)


def understood(
    here: State, record: SandboxRecord, body: Mapping[str, Any], call: str, millis: int
) -> Script:
    """The program that a body asks for. 400 as from the VM."""
    code, path = body.get("code"), body.get("path")
    if code is None and path is None:
        raise guest_refused(f"POST /{call}", "code or path is required")
    if code is None and path is not None:
        path = inside(here, path, f"POST /{call}")
    said = notes(record.labels)
    flags = body.get("denoFlags" if call == "run-ts" else "nodeFlags", [])
    env = None if body.get("env") is None else variables(body["env"], "env")
    return Script(
        language="typescript" if call == "run-ts" else "javascript",
        code=code,
        path=None if code is not None else path,
        args=tuple(body.get("args", [])),
        env=env,
        flags=tuple(flags),
        network=said.internet or bool(said.links),
        wall_s=millis / 1000,
        cpu_s=millis / 1000 * max(1.0, record.limits.cpus) + 1.0,
        keep_bytes=KEPT_BYTES,
    )


def inside(here: State, path: str, call: str) -> str:
    """A path beneath /workspace, from an absolute one or one relative to it. 400."""
    if "\0" in path or ".." in path.split("/"):
        raise guest_refused(call, "path must not hold '..' or a NUL")
    places = (WORKSPACE, "/home/user") if here.options.legacy_home_paths else (WORKSPACE,)
    if not path.startswith("/"):
        return f"{WORKSPACE}/{path}"
    if any(path == each or path.startswith(f"{each}/") for each in places):
        return path
    raise guest_refused(call, f"path must be under {WORKSPACE}")


def told(done: ScriptResult) -> dict[str, Any]:
    """A program's result, in run-dat-sheesh's members."""
    answer = answered(done.run.exit, done.run.stdout, done.run.stderr)
    if done.reported.has_result:
        answer["result"] = done.reported.result
    if done.reported.error is not None:
        answer["error"] = done.reported.error
    return answer


def answered(ended: Exit, stdout: bytes, stderr: bytes) -> dict[str, Any]:
    """How something ended, in run-dat-sheesh's members."""
    text = stderr.decode("utf-8", "replace")
    code = ended.code
    if ended.reason is ExitReason.WALL_TIME:
        code, text = TIMED_OUT, text + _TIMEOUT_TEXT
    elif code is None:
        code = _KILLED if ended.signal is None else _SIGNALLED + ended.signal
    return {"exitCode": code, "stdout": stdout.decode("utf-8", "replace"), "stderr": text}


def _env(given: Mapping[str, str]) -> dict[str, str]:
    return variables([f"{name}={value}" for name, value in given.items()], "env")


def _millis(body: Mapping[str, Any], most: int, name: str) -> int:
    millis: int = body.get("timeoutMs", min(USUAL_MS, most))
    if millis > most:
        raise bad(f"timeoutMs exceeds {name}={most}")
    return millis


# Escape sequences of terminals: ECMA-48, 5.4 and 8.3.89.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\\\))")
_EVENTS = {
    "exec": ("exec.command", "Command executed"),
    "run-ts": ("runTs.executed", "TypeScript executed"),
    "run-js": ("runJs.executed", "JavaScript executed"),
}


async def _noted(
    here: State,
    record: SandboxRecord,
    call: str,
    body: Mapping[str, Any],
    answer: Mapping[str, Any],
    began: float,
) -> None:
    secrets = (await here.machines.secrets.of(record)).values()
    await here.runs.note(record.id, call, body, answer, began=began, secrets=secrets)
    kind, text = _EVENTS[call]
    own = vm_id(record.id)
    meta = {"exitCode": answer["exitCode"]}
    await here.activity.note(kind, f"{text}: {own}", entity=("vm", own), meta=meta)
