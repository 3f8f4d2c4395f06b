"""Executes what a request wants in its session, whole or as a stream."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from time import perf_counter

import anyio

from atoll.core.errors import AtollError, Busy, InvalidRequest, NotFound, Unavailable
from atoll.core.model import WORKSPACE, Channel, Exit, ProcessSpec
from atoll.dialects.wasmrun import outcome as outcomes
from atoll.dialects.wasmrun import programs
from atoll.dialects.wasmrun.errors import BadRequest, NothingThere, TooMany, told
from atoll.dialects.wasmrun.files import SessionFiles, place
from atoll.dialects.wasmrun.metrics import Metrics
from atoll.dialects.wasmrun.modules import Modules
from atoll.dialects.wasmrun.npm.install import Installer
from atoll.dialects.wasmrun.options import Options
from atoll.dialects.wasmrun.outcome import Outcome, Output
from atoll.dialects.wasmrun.programs import Engine, Program, Wanted
from atoll.dialects.wasmrun.schemas import ExecIn
from atoll.dialects.wasmrun.sessions import Session
from atoll.dialects.wasmrun.shell import Shell
from atoll.http.services import Services
from atoll.service.requests import OutputChunk, ProcessFinished
from atoll.settings import Settings

WORD_BYTES = 128 * 1024 - 1
WORDS_BYTES = 512 * 1024
_GRACE_S = 2.0
_REPORT_BYTES = 64 * 1024
_CONCURRENT = "Rate limit exceeded: per-tenant concurrent execution limit reached"


class Executor:
    """Executions of this server. In a session there is one at a time; the next one waits."""

    def __init__(
        self,
        *,
        services: Services,
        settings: Settings,
        options: Options,
        metrics: Metrics,
        installer: Installer,
    ) -> None:
        self._services = services
        self._settings = settings
        self._most = options.max_concurrent_exec
        self._metrics = metrics
        self._installer = installer
        self._modules = Modules(services.backends)

    @property
    def is_full(self) -> bool:
        """Whether another execution would be refused."""
        return bool(self._most) and self._metrics.executing >= self._most

    def check(self, body: ExecIn) -> Wanted:
        """What it is. `BadRequest` before anything has happened."""
        found = programs.wanted(body)
        self._installer.check(body)
        if body.timeout > self._settings.max_timeout_s:
            raise BadRequest(f"timeout may be at most {self._settings.max_timeout_s:g} s")
        check_env(body.env or {})
        check_words([*body.args, body.function or ""])
        return found

    async def run(self, session: Session, body: ExecIn) -> Outcome:
        """The result. Cancelled, it ends the program."""
        found = self.check(body)
        before = dict(session.env)
        async with self._counted(session, body.timeout) as result:
            program = await self._prepared(session, body, found, result)
            if program is None:
                await self._shell(session, body, result)
            else:
                async with self._noted(session, found):
                    await self._whole(session, body, program, result)
            if outcomes.is_broken(result):
                # Only now is it worth looking whether there is a module at all.
                try:
                    await self._module(session, body, found)
                except NothingThere:
                    session.env = before
                    raise
        return result

    async def stream(
        self, session: Session, body: ExecIn
    ) -> AsyncGenerator[tuple[str, str] | Outcome | None, None]:
        """None once it has begun, then pieces of stdout and stderr, then the result."""
        found = self.check(body)
        async with self._counted(session, body.timeout) as result:
            if found.engine is Engine.WASM:
                await self._module(session, body, found)
            program = await self._prepared(session, body, found, result)
            yield None
            if program is None:
                await self._shell(session, body, result)
                if result.stdout or result.stderr:
                    yield result.stdout, result.stderr
            elif result.error is None:
                async with (
                    self._noted(session, found),
                    aclosing(self._pieces(session, body, program, result)) as pieces,
                ):
                    async for piece in pieces:
                        yield piece
        yield result

    @asynccontextmanager
    async def _counted(self, session: Session, timeout_s: int) -> AsyncGenerator[Outcome, None]:
        """Its place among all executions, its turn in the session, its time, its count."""
        if self.is_full:
            raise TooMany(f"Too many concurrent executions: limit is {self._most}", "concurrency")
        result = Outcome()
        self._metrics.executing += 1
        try:
            await _take(session.turn, timeout_s)
            try:
                begun = perf_counter()
                yield result
                result.duration_ms = round((perf_counter() - begun) * 1000)
            finally:
                session.turn.release()
                session.disk_bytes = None
        except Busy:
            raise TooMany(_CONCURRENT, "concurrency") from None
        finally:
            self._metrics.executing -= 1
        self._metrics.executed(result.kind, result.duration_ms, truncated=result.truncated)

    async def _prepared(
        self, session: Session, body: ExecIn, found: Wanted, result: Outcome
    ) -> Program | None:
        """The program, with everything that it needs in place; None for the shell."""
        files = SessionFiles(self._services.files, session)
        env = {**session.env, **(body.env or {})}
        check_env(env)
        program = None
        if found.engine is Engine.WASM:
            code = await self._modules.code(files, found.entry.removeprefix(WORKSPACE))
            program = programs.module(body, found, session.limits, code)
        elif found.engine is not Engine.SHELL:
            await files.check({place(name): len(data) for name, data in found.files.items()})
            if self._installer.is_wanted(body):
                result.lockfile = await self._installer.install(files, body)
            if found.engine is Engine.PYTHON:
                program = programs.python(body, found)
            else:
                program = await self._script(session, files, body, found)
        session.env.update(env)
        return program

    @asynccontextmanager
    async def _noted(self, session: Session, found: Wanted) -> AsyncGenerator[None, None]:
        """Remember of a module how long it has taken."""
        begun = perf_counter()
        yield
        if found.engine is Engine.WASM:
            files = SessionFiles(self._services.files, session)
            path = found.entry.removeprefix(WORKSPACE)
            await self._modules.ran(files, path, perf_counter() - begun)

    async def _module(self, session: Session, body: ExecIn, found: Wanted) -> None:
        """Make sure that there is something to execute."""
        files = SessionFiles(self._services.files, session)
        if await files.stat(found.entry.removeprefix(WORKSPACE)) is None:
            raise NothingThere(f"{body.wasm_path}: No such file or directory (os error 2)")

    async def _script(
        self, session: Session, files: SessionFiles, body: ExecIn, found: Wanted
    ) -> Program:
        await self._services.languages.look_for("typescript")
        self._services.languages.usable("typescript", image="host")
        tsconfig = found.files.get("tsconfig.json")
        if tsconfig is None:
            tsconfig = await _optional(files, "/tsconfig.json")
        return programs.script(body, found, session.limits, tsconfig)

    def _spec(self, session: Session, body: ExecIn, program: Program) -> ProcessSpec:
        wall_s = float(body.timeout)
        if program.argv[0] == "atoll-wasm":
            # It ends the module by itself and says so; this is for when it cannot.
            wall_s += _GRACE_S
        return ProcessSpec(
            argv=program.argv,
            env={**session.env, **program.env},
            files=program.files,
            stdin=body.stdin is not None,
            wall_s=wall_s,
            cpu_s=2.0 * wall_s + 1.0,
            output_bytes=session.limits.output_bytes(self._settings.max_output_bytes),
        )

    async def _whole(
        self, session: Session, body: ExecIn, program: Program, result: Outcome
    ) -> None:
        spec = self._spec(session, body, program)
        try:
            done = await self._services.processes.run(
                session.owner, session.sandbox_id, spec, _stdin(body)
            )
        except InvalidRequest as error:
            raise await self._explained(session, program, error) from None
        output = Output(spec.output_bytes)
        output.add(Channel.STDOUT, done.stdout)
        output.add(Channel.STDERR, done.stderr)
        result.truncated = done.truncated
        await self._finish(session, body, program, output, done.exit, result)

    async def _pieces(
        self, session: Session, body: ExecIn, program: Program, result: Outcome
    ) -> AsyncGenerator[tuple[str, str], None]:
        spec = self._spec(session, body, program)
        output = Output(spec.output_bytes)
        running = self._services.processes.stream(
            session.owner, session.sandbox_id, spec, _stdin(body)
        )
        try:
            async with aclosing(running) as events:
                async for event in events:
                    if isinstance(event, OutputChunk):
                        output.truncated = output.truncated or bool(event.skipped)
                        text = output.add(event.channel, event.data)
                        if text:
                            yield (text, "") if event.channel is Channel.STDOUT else ("", text)
                    elif isinstance(event, ProcessFinished):
                        result.truncated = event.exit.truncated or output.truncated
                        await self._finish(session, body, program, output, event.exit, result)
        except InvalidRequest as error:
            result.error = told(await self._explained(session, program, error))[1]

    async def _explained(
        self, session: Session, program: Program, error: InvalidRequest
    ) -> AtollError:
        """Why a program did not start: perhaps this host lacks it."""
        if program.argv[0] != "atoll-wasm":
            return error
        try:
            where = "/opt/atoll/bin/atoll-wasm"
            await self._services.files.stat(session.owner, session.sandbox_id, where)
        except NotFound:
            return Unavailable(
                "WebAssembly is not installed on this host: pip install 'atoll[wasm]'"
            )
        return error

    async def _finish(
        self,
        session: Session,
        body: ExecIn,
        program: Program,
        output: Output,
        exit_: Exit,
        result: Outcome,
    ) -> None:
        result.stdout, result.stderr = output.text(Channel.STDOUT), output.text(Channel.STDERR)
        outcomes.ended(result, exit_, body.timeout, session.limits)
        told_more = body.function is not None or result.code == outcomes.ABORTED
        if program.argv[0] == "atoll-wasm" and result.error is None and told_more:
            files = SessionFiles(self._services.files, session)
            raw = await files.raw(programs.REPORT, _REPORT_BYTES)
            outcomes.reported(result, raw, body.timeout, session.limits)
        elif program.argv[0] == "deno" and result.code == 1:
            failed = programs.transpile_error(result.stderr)
            if failed is not None:
                result.code, result.error = outcomes.ABNORMAL, f"Bad request: {failed}"

    async def _shell(self, session: Session, body: ExecIn, result: Outcome) -> None:
        most = session.limits.output_bytes(self._settings.max_output_bytes)
        files = SessionFiles(self._services.files, session)
        with self._services.quotas.running(session.owner):
            shell = Shell(files, session.env, _stdin(body) or b"", most)
            try:
                with anyio.fail_after(body.timeout):
                    said = await shell.run(body.command or "")
            except BadRequest as error:
                result.error = error.detail
                return
            except TimeoutError:
                result.error = f"Execution timed out after {body.timeout}s"
                return
        output = Output(most)
        output.add(Channel.STDOUT, said.stdout)
        output.add(Channel.STDERR, said.stderr)
        result.stdout, result.stderr = output.text(Channel.STDOUT), output.text(Channel.STDERR)
        result.code, result.truncated = said.code, output.truncated


async def _take(turn: anyio.Lock, timeout_s: int) -> None:
    """Wait for one's turn, no longer than one may execute."""
    try:
        with anyio.fail_after(timeout_s):
            await turn.acquire()
    except TimeoutError:
        raise TooMany(
            "Too many concurrent executions: the session executes another", "concurrency"
        ) from None


def check_env(env: Mapping[str, str]) -> None:
    """Refuse what cannot be a variable, and what the kernel does not take."""
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise BadRequest(f"Invalid environment variable: {name[:100]!r}")
    check_words([f"{name}={value}" for name, value in env.items()])


def check_words(words: Sequence[str]) -> None:
    """Refuse arguments or variables that the kernel does not take."""
    sizes = [len(word.encode("utf-8", "replace")) for word in words]
    if max(sizes, default=0) > WORD_BYTES or sum(sizes) > WORDS_BYTES:
        raise BadRequest(
            f"Arguments and variables may have {WORD_BYTES} bytes each, {WORDS_BYTES} together"
        )
    if any("\0" in word for word in words):
        raise BadRequest("Arguments and variables hold no NUL")


def _stdin(body: ExecIn) -> bytes | None:
    return None if body.stdin is None else body.stdin.encode("utf-8", "replace")


async def _optional(files: SessionFiles, path: str) -> bytes | None:
    try:
        return await files.read(path)
    except NothingThere:
        return None
