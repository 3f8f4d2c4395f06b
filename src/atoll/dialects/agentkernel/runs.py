"""The routes of one-shots: run, run/stream, batch/run."""

import codecs
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import AtollError
from atoll.core.model import Channel
from atoll.dialects.agentkernel.document import takes
from atoll.dialects.agentkernel.errors import BadRequest, text_of
from atoll.dialects.agentkernel.programs import execution, exit_code, failure, printed
from atoll.dialects.agentkernel.schemas import BatchIn, RunIn, read
from atoll.dialects.agentkernel.state import State, caller, reply, state, stream
from atoll.dialects.agentkernel.words import moment
from atoll.http.patience import while_connected
from atoll.http.sse import event
from atoll.service.caller import Caller
from atoll.service.execution import Execution, ExecutionResult, Output, Started

router = APIRouter()
TAIL_BYTES = 64 * 1024
# Python keeps what it prints into a pipe until there is more of it; a stream is to tell it at once.
_AS_PRINTED = {"PYTHONUNBUFFERED": "1"}


@router.post("/run", openapi_extra=takes(RunIn))
async def run(request: Request) -> Response:
    """Run a command in a fresh sandbox."""
    here = state(request)
    body = await read(request, RunIn)
    work = here.services.executions.run(execution(here, body.command, body), caller(request))
    result = await while_connected(request.receive, work)
    here.front.metrics.execution(result.exit.reason.value)
    output = printed(result.stdout, result.stderr)
    failed = failure(result.exit, output)
    if failed is not None:
        raise failed
    return reply({"output": output})


@router.post("/batch/run", openapi_extra=takes(BatchIn))
async def batch(request: Request) -> Response:
    """Run many at once; results in order, and one that fails spoils no other."""
    here = state(request)
    body = await read(request, BatchIn)
    if not body.commands:
        raise BadRequest("commands array is required and must not be empty")
    most = here.front.settings.max_batch
    if len(body.commands) > most:
        raise BadRequest(f"commands may have at most {most} entries")
    wanted = [_one(here, each.command) for each in body.commands]
    good = [each for each in wanted if isinstance(each, Execution)]
    done: list[ExecutionResult | AtollError] = []
    if good:
        work = here.services.executions.batch(
            good, caller(request), here.front.settings.max_running
        )
        done = await while_connected(request.receive, work)
    outcomes = iter(done)
    results = [
        _told(here, each if isinstance(each, AtollError) else next(outcomes)) for each in wanted
    ]
    return reply({"results": results})


@router.post("/run/stream", openapi_extra=takes(RunIn))
async def run_stream(request: Request) -> Response:
    """Run a command in a fresh sandbox and tell what it prints while it runs."""
    here = state(request)
    body = await read(request, RunIn)
    return stream(here, _events(here, caller(request), body))


async def _events(here: State, who: Caller, body: RunIn) -> AsyncGenerator[bytes, None]:
    """Whatever goes wrong is the last event: the answer itself is a success."""
    texts = {each: codecs.getincrementaldecoder("utf-8")("replace") for each in Channel}
    tail = ""
    try:
        wanted = execution(here, body.command, body, _AS_PRINTED)
        told = here.services.executions.stream(wanted, who)
        async with aclosing(told) as steps:
            async for step in steps:
                if isinstance(step, Started):
                    yield _started(here, step, body)
                elif isinstance(step, Output):
                    text = texts[step.channel].decode(step.data)
                    tail = (tail + text)[-TAIL_BYTES:]
                    if text:
                        yield _output(text, step.channel)
                else:
                    here.front.metrics.execution(step.result.exit.reason.value)
                    for channel, decoder in texts.items():
                        if rest := decoder.decode(b"", final=True):
                            tail += rest
                            yield _output(rest, channel)
                    yield _done(step.result, tail)
    except AtollError as error:
        yield event("error", {"message": text_of(error)})


def _started(here: State, step: Started, body: RunIn) -> bytes:
    """What is told before the first output: both words of each stage that a client may know."""
    now = moment(here.services.clock.now())
    head = {"sandbox": step.id, "command": body.command, "fast": body.fast, "timestamp": now}
    stages = ["creating", "starting", "executing"]
    if not body.fast:
        stages = ["creating", "sandbox_created", "starting", "sandbox_started", "executing"]
    events = [event("started", head)]
    events += [event("progress", {"stage": stage, "sandbox": step.id}) for stage in stages]
    return b"".join(events)


def _output(text: str, channel: Channel) -> bytes:
    return event("output", {"content": text, "data": text, "stream": channel.value})


def _done(result: ExecutionResult, tail: str) -> bytes:
    code = exit_code(result.exit)
    body: dict[str, object] = {"exit_code": code, "success": code == 0}
    failed = failure(result.exit, tail)
    if failed is not None:
        body |= {"output": tail, "error": failed.detail}
    return event("done", body)


def _one(here: State, command: list[str]) -> Execution | AtollError:
    try:
        return execution(here, command)
    except AtollError as error:
        return error


def _told(here: State, outcome: ExecutionResult | AtollError) -> dict[str, str | None]:
    if isinstance(outcome, AtollError):
        return {"output": None, "error": text_of(outcome)}
    here.front.metrics.execution(outcome.exit.reason.value)
    output = printed(outcome.stdout, outcome.stderr)
    failed = failure(outcome.exit, output)
    if failed is not None:
        return {"output": None, "error": text_of(failed)}
    return {"output": output, "error": None}
