"""Programs that run to their end in a persistent sandbox."""

from contextlib import aclosing
from time import perf_counter

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import InvalidRequest
from atoll.core.model import Exit
from atoll.core.records import SandboxRecord
from atoll.http.answers import Json, exit_body, reply, reported_body, text
from atoll.http.bodies import read
from atoll.http.describe import SANDBOX, op, streaming
from atoll.http.front import Front, caller, front
from atoll.http.patience import while_connected
from atoll.http.schemas.process import ExecRequest
from atoll.http.schemas.result import ResultOut
from atoll.http.sse import Events, EventStream, event
from atoll.http.text import OutputEvents
from atoll.http.v1.parameters import SandboxRef
from atoll.service.caller import Caller
from atoll.service.requests import OutputChunk, ProcessStarted
from atoll.service.structured import STRUCTURED, report_of, reported

router = APIRouter(tags=["processes"])


@router.post(
    "/v1/sandboxes/{sandbox}/exec",
    **op("exec", takes=ExecRequest, gives=ResultOut, fails=SANDBOX),
)
async def execute(request: Request, sandbox: SandboxRef) -> Response:
    """Run a program in the sandbox and answer when it has ended."""
    here, who = front(request), caller(request)
    begun = perf_counter()
    wanted = await read(request, ExecRequest)
    record = await here.services.sandboxes.get(who, sandbox)
    if wanted.structured:
        await here.services.backends.choose(record.backend, needs=frozenset({STRUCTURED}))
    spec, stdin = await here.translator.program(wanted, record)
    report = report_of(spec)
    work = here.services.processes.run(who, record.id, spec, stdin, report)
    result = await while_connected(request.receive, work)
    body = _end_body(record, result.exit, begun)
    body["stdout"] = text(result.stdout, wanted.encoding)
    body["stderr"] = text(result.stderr, wanted.encoding)
    body["encoding"] = wanted.encoding
    if report is not None:
        body |= reported_body(reported(report, result.exit.code, result.stderr))
    return reply(body)


@router.post(
    "/v1/sandboxes/{sandbox}/exec/stream",
    **op(
        "exec_stream",
        takes=ExecRequest,
        answers=streaming("started", "stdout", "stderr", "exit", "error"),
        fails=SANDBOX,
    ),
)
async def execute_stream(request: Request, sandbox: SandboxRef) -> EventStream:
    """Run a program in the sandbox and tell what it prints while it runs."""
    here, who = front(request), caller(request)
    wanted = await read(request, ExecRequest)
    if wanted.structured:
        raise InvalidRequest("Only …/exec gives back a value.", field="structured")
    record = await here.services.sandboxes.get(who, sandbox)
    return EventStream(here, _events(here, who, record, wanted))


async def _events(here: Front, who: Caller, record: SandboxRecord, wanted: ExecRequest) -> Events:
    begun = perf_counter()
    spec, stdin = await here.translator.program(wanted, record)
    output, position = OutputEvents(base64=wanted.encoding == "base64"), 0
    told = here.services.processes.stream(who, record.id, spec, stdin)
    async with aclosing(told) as steps:
        async for step in steps:
            if isinstance(step, ProcessStarted):
                head = {"id": record.id, "backend": record.backend, "pid": step.record.number}
                yield event("started", head, position)
            elif isinstance(step, OutputChunk):
                position = step.position_after
                if events := output.chunk(step.channel, step.data, position, step.skipped):
                    yield events
            else:
                body = _end_body(record, step.exit, begun)
                yield output.rest(position) + event("exit", body, position)


def _end_body(record: SandboxRecord, end: Exit, begun: float) -> Json:
    """The same shape as a one-shot's; its sandbox was there already."""
    total_ms = (perf_counter() - begun) * 1000
    run_ms = min(total_ms, end.usage.wall_s * 1000) if end.usage.wall_s else total_ms
    return {
        "id": record.id,
        **exit_body(end),
        "timings": {
            "queue_ms": 0.0,
            "open_ms": total_ms - run_ms,
            "run_ms": run_ms,
            "total_ms": total_ms,
        },
        "backend": record.backend,
    }
