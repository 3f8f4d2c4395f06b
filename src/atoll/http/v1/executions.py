"""One-shots. The hot path: no dependencies to solve, no model to build for the answer."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi import APIRouter
from fastapi.routing import APIRoute
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import AtollError, InvalidRequest, TooLarge
from atoll.http.answers import Json, end_body, reply, result_body
from atoll.http.bodies import parse, read
from atoll.http.describe import RUN, op, streaming
from atoll.http.errors import problem_of
from atoll.http.front import Front, caller, front
from atoll.http.middleware.boundary import request_id
from atoll.http.patience import while_connected
from atoll.http.schemas.execution import BatchRequest, ExecuteRequest, RunRequest
from atoll.http.schemas.result import BatchOut, ResultOut
from atoll.http.sse import Events, EventStream, event
from atoll.http.text import OutputEvents
from atoll.service.execution import Event, Execution, ExecutionResult, Output, Started

router = APIRouter(tags=["one-shots"])
_STREAM = streaming("started", "stdout", "stderr", "exit", "error")


@router.post("/v1/execute", **op("execute", takes=ExecuteRequest, gives=ResultOut, fails=RUN))
async def execute(request: Request) -> Response:
    """Run code in a fresh sandbox and answer when it has ended."""
    return await _run(request, await read(request, ExecuteRequest))


@router.post("/v1/run", **op("run", takes=RunRequest, gives=ResultOut, fails=RUN))
async def run(request: Request) -> Response:
    """Run a command in a fresh sandbox and answer when it has ended."""
    return await _run(request, await read(request, RunRequest))


@router.post(
    "/v1/execute/stream", **op("execute_stream", takes=ExecuteRequest, answers=_STREAM, fails=RUN)
)
async def execute_stream(request: Request) -> EventStream:
    """Run code in a fresh sandbox and tell what it prints while it runs."""
    return _stream(request, await read(request, ExecuteRequest))


@router.post("/v1/run/stream", **op("run_stream", takes=RunRequest, answers=_STREAM, fails=RUN))
async def run_stream(request: Request) -> EventStream:
    """Run a command in a fresh sandbox and tell what it prints while it runs."""
    return _stream(request, await read(request, RunRequest))


@router.post("/v1/batch", **op("batch", takes=BatchRequest, gives=BatchOut, fails=RUN))
async def batch(request: Request) -> Response:
    """Run many one-shots; results in order, and one that fails spoils no other."""
    wanted = await read(request, BatchRequest)
    here = front(request)
    if len(wanted.requests) > here.settings.max_batch:
        most = here.settings.max_batch
        raise TooLarge(f"A batch has at most {most} requests.", limit=most, field="requests")
    items = [_item(here, each) for each in wanted.requests]
    good = [item[0] for item in items if not isinstance(item, AtollError)]
    who = caller(request)
    concurrency = min(wanted.concurrency or here.settings.max_running, here.settings.max_running)
    done: list[ExecutionResult | AtollError] = []
    if good:
        work = here.services.executions.batch(good, who, concurrency)
        done = await while_connected(request.receive, work)
    outcomes = iter(done)
    results: list[Json] = []
    for index, item in enumerate(items):
        outcome = item if isinstance(item, AtollError) else next(outcomes)
        encoding = "utf-8" if isinstance(item, AtollError) else item[1]
        results.append(_batch_body(here, request, index, outcome, encoding))
    return reply({"results": results})


def hot() -> dict[str, APIRoute]:
    """The routes that are called most, by path."""
    every = (route for route in router.routes if isinstance(route, APIRoute))
    return {route.path: route for route in every if route.endpoint in (execute, run)}


async def _run(request: Request, wanted: ExecuteRequest | RunRequest) -> Response:
    here = front(request)
    execution = here.translator.execution(wanted)
    work = here.services.executions.run(execution, caller(request))
    result = await while_connected(request.receive, work)
    here.metrics.execution(result.exit.reason.value)
    return reply(result_body(result, wanted.encoding))


def _stream(request: Request, wanted: ExecuteRequest | RunRequest) -> EventStream:
    here = front(request)
    execution = here.translator.execution(wanted)
    told = here.services.executions.stream(execution, caller(request))
    return EventStream(here, _events(here, told, base64=wanted.encoding == "base64"))


async def _events(here: Front, told: AsyncGenerator[Event, None], *, base64: bool) -> Events:
    output, position = OutputEvents(base64=base64), 0
    async with aclosing(told) as steps:
        async for step in steps:
            if isinstance(step, Started):
                yield event("started", {"id": step.id, "backend": step.backend}, position)
            elif isinstance(step, Output):
                position += len(step.data)
                if events := output.chunk(step.channel, step.data, position):
                    yield events
            else:
                here.metrics.execution(step.result.exit.reason.value)
                yield output.rest(position) + event("exit", end_body(step.result), position)


def _item(here: Front, raw: Json) -> tuple[Execution, str] | AtollError:
    """One request of a batch, or what is wrong with it."""
    kind: type[ExecuteRequest | RunRequest]
    if "language" in raw:
        kind = ExecuteRequest
    elif "argv" in raw or "command" in raw:
        kind = RunRequest
    else:
        return InvalidRequest("Give a language, argv or command.", field="language")
    try:
        wanted = parse(to_json(raw), kind)
        return here.translator.execution(wanted), wanted.encoding
    except AtollError as error:
        return error


def _batch_body(
    here: Front, request: Request, index: int, outcome: ExecutionResult | AtollError, encoding: str
) -> Json:
    if isinstance(outcome, AtollError):
        problem = problem_of(outcome).body(request_id(request.scope))
        return {"index": index, "result": None, "error": problem}
    here.metrics.execution(outcome.exit.reason.value)
    return {"index": index, "result": result_body(outcome, encoding), "error": None}
