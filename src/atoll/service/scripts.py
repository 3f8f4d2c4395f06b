"""Programs in kept sandboxes that give back a JSON value; interpreters wait for them."""

import posixpath
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from secrets import token_hex

import anyio

from atoll.core.errors import AtollError, InvalidRequest
from atoll.core.model import MIB, WORKSPACE, Exit, ExitReason, ProcessSpec
from atoll.core.ports import Rearmable
from atoll.service.caller import Caller
from atoll.service.held import Held
from atoll.service.keeper import Keeper
from atoll.service.languages import Languages
from atoll.service.preludes import DENO, NODE
from atoll.service.processes import Processes
from atoll.service.reports import Report, Reported, of_stderr
from atoll.service.requests import RunResult
from atoll.service.sandboxes import Sandboxes
from atoll.service.spares import Prompted, Spare

DENO_DIR = f"{WORKSPACE}/.deno"
# What a program of deno's may read besides its own directories: what names need to be resolved.
_READABLE = "/etc/hosts,/etc/resolv.conf,/etc/nsswitch.conf,/etc/ssl"
_WRITABLE = f"{WORKSPACE},/tmp,/var/tmp"
_LANGUAGES = {"typescript": ".ts", "javascript": ".js"}
# An interpreter that waits holds less than 40 MiB (deno 28, most of it shared). Those that wait
# have a third of their sandbox's memory at most.
SPARES = 2
SPARE_BYTES = 40 * MIB
_SPARE_S = 900.0
_AFTER_S = 0.003
_UNASKED_S = 5.0
_SIGKILL = 9
_ENDLESS = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A program: `code`, or the `path` of one that is in the sandbox.

    `env` of None lets a program of deno's read its whole environment, another only those names.
    `flags` are the interpreter's. Each channel is kept up to `keep_bytes`.
    """

    language: str
    code: str | None = None
    path: str | None = None
    args: tuple[str, ...] = ()
    env: Mapping[str, str] | None = None
    flags: tuple[str, ...] = ()
    network: bool = False
    wall_s: float = 30.0
    cpu_s: float = 60.0
    keep_bytes: int = MIB


@dataclass(frozen=True, slots=True)
class ScriptResult:
    """How it ended, what it printed, what it gave back."""

    run: RunResult
    reported: Reported = field(default_factory=Reported)


class Scripts:
    """Runs them. After the first of its kind an interpreter waits for the next."""

    def __init__(
        self,
        *,
        sandboxes: Sandboxes,
        processes: Processes,
        languages: Languages,
        keeper: Keeper,
    ) -> None:
        self._sandboxes = sandboxes
        self._processes = processes
        self._languages = languages
        self._keeper = keeper

    async def run(self, caller: Caller, sandbox: str, script: Script) -> ScriptResult:
        """Run to the end. `InvalidRequest`, `Unavailable` when the interpreter is not there."""
        if (script.code is None) == (script.path is None):
            raise InvalidRequest("Give either code or a path.", field="code")
        await self._languages.look_for(script.language)
        async with self._sandboxes.holding(caller, sandbox) as held:
            record = held.record
            self._languages.usable(script.language, image=record.image, backend=record.backend)
            key = _key(script, record.version)
            spare = _taken(held, key)
            nonce = spare.nonce if spare else token_hex(16)
            main = spare.main if spare else _main(script, nonce)
            spec = self._spec(held, script, main, nonce)
            report = Report(nonce, script.keep_bytes)
            litter = [*_litter(script, main), *spec.files]
            starts = Prompted(held.box, _job(script, main, nonce, litter), spare)
            ended = await self._processes.collect(caller, held, spec, report, starts)
            self._keeper.spawn(self._fill, held, key, script)
            if not report.complete:
                await _cleared(held, litter)
        return _told(report, ended)

    def _spec(self, held: Held, script: Script, main: str, nonce: str) -> ProcessSpec:
        """The interpreter, which will be told its job."""
        typescript = script.language == "typescript"
        name = DENO if typescript else NODE
        path, files = self._languages.preludes.before(name, held.record.image, nonce)
        return ProcessSpec(
            argv=(_deno if typescript else _node)(script, path, main),
            cwd=posixpath.dirname(main) or "/",
            env=_env(script, script.env or {}),
            files=files,
            stdin=True,
            wall_s=script.wall_s,
            cpu_s=script.cpu_s,
            output_bytes=_ENDLESS,
        )

    async def _fill(self, held: Held, key: Hashable, script: Script) -> None:
        """Have one more wait, once whoever was served has the answer."""
        await anyio.sleep(_AFTER_S)
        most = min(SPARES, held.record.limits.memory_bytes // 3 // SPARE_BYTES)
        if held.closing.is_set() or (
            sum(map(len, held.spares.values())) >= most and not await _room(held, key)
        ):
            return
        nonce = token_hex(16)
        main = _main(script, nonce)
        spec = replace(
            self._spec(held, script, main, nonce),
            wall_s=_SPARE_S,
            cpu_s=_SPARE_S,
            env=_env(script, {}),
        )
        try:
            process = await held.box.start(self._keeper.vault.given(held.record, spec))
        except AtollError:
            return
        if isinstance(process, Rearmable):
            spare = Spare(process, main, nonce, anyio.current_time())
            held.spares.setdefault(key, []).append(spare)


def _key(script: Script, version: int) -> Hashable:
    """What an interpreter must have been started with to serve this."""
    names = None if script.env is None else tuple(sorted(script.env))
    return script.language, script.path, script.flags, script.network, names, version


async def _room(held: Held, key: Hashable) -> bool:
    """End one of another kind that nobody has asked for in a while; whether there was one."""
    for other, waiting in held.spares.items():
        if other != key and waiting and anyio.current_time() - waiting[0].since > _UNASKED_S:
            await waiting.pop(0).process.signal(_SIGKILL)
            return True
    return False


def _taken(held: Held, key: Hashable) -> Spare | None:
    waiting = held.spares.get(key)
    return waiting.pop(0) if waiting else None


def _main(script: Script, nonce: str) -> str:
    if script.path is not None:
        return posixpath.normpath(posixpath.join(WORKSPACE, script.path))
    return f"{WORKSPACE}/.atoll-{nonce[:16]}{_LANGUAGES[script.language]}"


def _job(script: Script, main: str, nonce: str, litter: list[str]) -> dict[str, object]:
    return {
        "nonce": nonce,
        "code": script.code,
        "main": main,
        "args": list(script.args),
        "env": dict(script.env or {}),
        "litter": litter,
    }


def _litter(script: Script, main: str) -> list[str]:
    """The file of a program that came as code, and what deno made of it."""
    if script.code is None:
        return []
    return [main, f"{DENO_DIR}/gen/file{main}.js"] if main.endswith(".ts") else [main]


def _env(script: Script, given: Mapping[str, str]) -> dict[str, str]:
    own = {"TERM": "dumb"}
    if script.language == "typescript":
        own |= {"DENO_DIR": DENO_DIR, "NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1"}
    return {**given, **own}


def _deno(script: Script, path: str, main: str) -> tuple[str, ...]:
    env = "--allow-env" if not script.env else f"--allow-env={','.join(sorted(script.env))}"
    return (
        "deno", "run", "--quiet", "--no-prompt", f"--allow-read={_WRITABLE},{_READABLE}",
        f"--allow-write={_WRITABLE}", env,
        *(("--allow-net",) if script.network else ()),
        f"--preload={path}", *script.flags, main,
    )  # fmt: skip


def _node(script: Script, path: str, main: str) -> tuple[str, ...]:
    return ("node", "--no-expose-wasm", "--require", path, *script.flags, main)


async def _cleared(held: Held, litter: list[str]) -> None:
    """Remove what a program has left that could not tidy up itself."""
    for path in litter:
        with suppress(AtollError):
            await held.box.files.remove(path)


def _told(report: Report, ended: Exit | None) -> ScriptResult:
    report.finish()
    said = report.reported
    if ended is None:  # it has told how it ends, and is ending
        ended = Exit(said.code, ExitReason.EXITED)
    elif said.code is None and ended.code:
        text = report.stderr.decode("utf-8", "replace")
        said = Reported(error=of_stderr(text))
    run = RunResult(ended, bytes(report.stdout), bytes(report.stderr), truncated=report.truncated)
    return ScriptResult(run, said)
