"""One-shots: a fresh sandbox, a program in it, its result, gone. The hot path of the server."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import anyio

from atoll.core.errors import AtollError, BackendFault, Conflict, InvalidRequest, TooLarge
from atoll.core.images import HOST
from atoll.core.model import Channel, Exit, ProcessSpec
from atoll.core.ports import Backend, ImageNames, Process
from atoll.service.audit import Audit, command_line
from atoll.service.backends import MODULES, NOTHING, Backends, needs_of
from atoll.service.caller import Caller
from atoll.service.clock import Clock
from atoll.service.execution import (
    Event,
    Execution,
    ExecutionResult,
    Finished,
    Output,
    Started,
)
from atoll.service.languages import Languages
from atoll.service.lease import Lease
from atoll.service.live import Collected
from atoll.service.planning import Bounds, plan
from atoll.service.pool import Pool, Shape
from atoll.service.quotas import Quotas
from atoll.service.reports import Report
from atoll.service.structured import STRUCTURED, report_of, reported, structured
from atoll.service.vault import SECRET_FILES

__all__ = [
    "Event",
    "Execution",
    "ExecutionResult",
    "Executions",
    "Finished",
    "Output",
    "Started",
]

GRACE_S = 10.0
_PIECE = 64 * 1024
# Of the end of stderr: enough of it to tell why a structured program could not begin.
_SAID = 16 * 1024
_BATCH_SHARE_MIN = 64 * 1024


@dataclass(slots=True)
class _Task:
    """One execution on its way."""

    request: Execution
    caller: Caller
    spec: ProcessSpec
    shape: Shape
    backend: Backend
    began: float
    outcome: str = "cancelled"
    sandbox_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Live:
    """A started program in its leased sandbox."""

    lease: Lease
    process: Process
    started: float


class Executions:
    """Runs code once. A guest's failure is in the result; what is raised is ours or the caller's.

    A sandbox that turns out to be dead before the program has started is replaced by another,
    once and silently, if the request has no network: then nothing can have happened yet that
    anybody could see. After the start a fault is told, and the client decides whether to retry.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        backends: Backends,
        languages: Languages,
        audit: Audit,
        quotas: Quotas,
        clock: Clock,
        bounds: Bounds | None = None,
        images: ImageNames | None = None,
    ) -> None:
        self._pool = pool
        self._backends = backends
        self._languages = languages
        self._audit = audit
        self._quotas = quotas
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._images = images

    async def run(self, request: Execution, caller: Caller) -> ExecutionResult:
        """Run to the end and return everything. Cancelling kills the program."""
        task = await self._task(request, caller)
        try:
            with self._quotas.running(caller):
                async with self._live(task) as live:
                    report = report_of(task.spec)
                    got = report or Collected()
                    ended: Exit | None = None
                    with anyio.move_on_after(task.spec.wall_s + GRACE_S):
                        async for channel, data in live.process.output():
                            got.take(channel, data)
                        ended = await live.process.wait()
                    if report is not None:
                        report.finish()
                    output = bytes(got.stdout), bytes(got.stderr)
                    return self._result(task, live, ended, *output, report=report)
        except AtollError as error:
            task.outcome = error.code
            raise
        finally:
            self._note(task)

    async def stream(self, request: Execution, caller: Caller) -> AsyncGenerator[Event, None]:
        """Tell `Started`, each `Output` as it comes, `Finished`. Closing it kills the program.

        What is wrong with the request is raised by the first step, before `Started`.
        """
        task = await self._task(request, caller)
        try:
            with self._quotas.running(caller):
                async with self._live(task) as live:
                    yield Started(live.lease.sandbox.id, live.lease.backend)
                    report, said = report_of(task.spec, hold=False), b""
                    async with aclosing(live.process.output()) as output:
                        while chunk := await _next(output, task):
                            channel, data = chunk
                            if report is not None:
                                data = report.take(channel, data)
                                said = (said + data)[-_SAID:] if channel is Channel.STDERR else said
                            if data:
                                yield Output(channel, data)
                    if report is not None and (rest := report.finish()):
                        yield Output(Channel.STDOUT, rest)
                    ended: Exit | None = None
                    with anyio.move_on_after(task.spec.wall_s + GRACE_S):
                        ended = await live.process.wait()
                    result = self._result(task, live, ended, stderr=said, report=report)
                    result = replace(result, stderr=b"")
                yield Finished(result)
        except AtollError as error:
            task.outcome = error.code
            raise
        finally:
            self._note(task)

    async def batch(
        self, requests: Sequence[Execution], caller: Caller, concurrency: int
    ) -> list[ExecutionResult | AtollError]:
        """Run many, at most `concurrency` at once; results in order, errors in their places."""
        if len(requests) > self._bounds.batch:
            raise TooLarge(
                f"A batch has at most {self._bounds.batch} requests.",
                limit=self._bounds.batch,
                field="requests",
            )
        if concurrency < 1:
            raise InvalidRequest("concurrency must be at least 1.", field="concurrency")
        # All results are held until the last is there: together they have the bound of one.
        share = max(_BATCH_SHARE_MIN, self._bounds.output_bytes // max(1, len(requests)))
        requests = [replace(each, output_bytes=min(each.output_bytes, share)) for each in requests]
        results: dict[int, ExecutionResult | AtollError] = {}
        todo = iter(enumerate(requests))

        async def work() -> None:
            for number, request in todo:
                try:
                    results[number] = await self.run(request, caller)
                except AtollError as error:
                    results[number] = error

        async with anyio.create_task_group() as group:
            for _ in range(min(concurrency, caller.max_concurrent, len(requests))):
                group.start_soon(work)
        return [results[number] for number in range(len(requests))]

    async def _task(self, request: Execution, caller: Caller) -> _Task:
        began = self._clock.monotonic()
        if request.image != HOST and self._images is not None:
            request = replace(request, image=await self._images.resolve(request.image))
        if request.language is not None:
            await self._languages.look_for(request.language)
        network = request.network
        needs = NOTHING if request.network_wished else needs_of(network)
        if request.function is not None or request.fuel is not None:
            needs |= {MODULES}
        if any(name.startswith("/") for name in request.secrets):
            needs |= {SECRET_FILES}
        if request.structured:
            needs |= {STRUCTURED}
        backend, network = await self._backends.place(
            network, request.backend, request.min_isolation, needs
        )
        spec = plan(request, self._languages, self._bounds, backend.name)
        if request.structured:
            name = self._languages.name_of(request.language)
            spec = structured(spec, name, request.image, self._languages.preludes)
        shape = Shape(request.image, request.limits, network, request.preload)
        return _Task(request, caller, spec, shape, backend, began)

    @asynccontextmanager
    async def _live(self, task: _Task) -> AsyncGenerator[_Live, None]:
        """The program, started in a leased sandbox and being fed."""
        may_retry = task.shape.network.mode == "none"
        while True:
            async with self._pool.lease(task.shape, task.caller, task.backend) as lease:
                task.sandbox_id = lease.sandbox.id
                started = self._clock.monotonic()
                try:
                    process = await lease.sandbox.start(task.spec)
                except BackendFault:
                    if not may_retry:
                        raise
                    may_retry = False
                    continue
                if task.request.stdin:
                    lease.alongside(partial(_feed, process, task.request.stdin))
                yield _Live(lease, process, started)
                return

    def _result(
        self,
        task: _Task,
        live: _Live,
        ended: Exit | None,
        stdout: bytes = b"",
        stderr: bytes = b"",
        *,
        report: Report | None = None,
    ) -> ExecutionResult:
        if ended is None:
            raise BackendFault(
                f"The program did not end within {task.spec.wall_s:g} s, which was its limit.",
                sandbox_id=task.sandbox_id,
            )
        now = self._clock.monotonic()
        task.outcome = ended.reason.value
        return ExecutionResult(
            id=live.lease.sandbox.id,
            exit=ended,
            stdout=stdout,
            stderr=stderr,
            truncated=ended.truncated,
            timings={
                "queue_ms": live.lease.queue_s * 1000,
                "open_ms": live.lease.open_s * 1000,
                "run_ms": (now - live.started) * 1000,
                "total_ms": (now - task.began) * 1000,
            },
            backend=live.lease.backend,
            reported=None if report is None else reported(report, ended.code, stderr),
        )

    def _note(self, task: _Task) -> None:
        self._audit.record(
            "run" if task.request.language is None else "execute",
            task.caller,
            task.outcome,
            task.sandbox_id,
            language=task.request.language,
            command=None if task.request.language else command_line(task.spec.argv),
            backend=task.backend.name,
        )


async def _next(
    output: AsyncGenerator[tuple[Channel, bytes], None], task: _Task
) -> tuple[Channel, bytes] | None:
    """The next chunk, None at the end. No cancel scope is open while the generator is paused."""
    with anyio.move_on_after(task.spec.wall_s + GRACE_S):
        return await anext(output, None)
    return None


async def _feed(process: Process, data: bytes) -> None:
    """Write it all and close; a program that does not read to the end is no error."""
    view = memoryview(data)
    try:
        for start in range(0, len(data), _PIECE):
            await process.write_stdin(bytes(view[start : start + _PIECE]))
        await process.close_stdin()
    except Conflict:
        return
