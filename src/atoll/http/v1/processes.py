"""Background and interactive processes in a persistent sandbox."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import TooLarge
from atoll.http.answers import process_body, reply
from atoll.http.bodies import read, read_bounded
from atoll.http.describe import SANDBOX, op
from atoll.http.front import caller, front
from atoll.http.patience import while_connected
from atoll.http.schemas.process import (
    ProcessList,
    ProcessOut,
    SignalRequest,
    StartRequest,
    TtyIn,
)
from atoll.http.v1.parameters import Pid, SandboxRef
from atoll.service.processes import STDIN_BYTES

router = APIRouter(tags=["processes"])
ALL = "/v1/sandboxes/{sandbox}/processes"
ONE = ALL + "/{pid}"
PIPE_BYTES = 64 * 1024
_RAW = {
    "required": True,
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}


@router.post(
    ALL, **op("start_process", takes=StartRequest, gives=ProcessOut, status=201, fails=SANDBOX)
)
async def start(request: Request, sandbox: SandboxRef) -> Response:
    """Start a program that goes on when the client goes."""
    here, who = front(request), caller(request)
    wanted = await read(request, StartRequest)
    record = await here.services.sandboxes.get(who, sandbox)
    spec, stdin = await here.translator.program(wanted, record)
    if stdin is not None and len(stdin) > PIPE_BYTES:
        detail = f"stdin may have {PIPE_BYTES} bytes here; send more with …/stdin."
        raise TooLarge(detail, limit=PIPE_BYTES, field="stdin")
    processes = here.services.processes
    started = await processes.start(who, record.id, spec)
    if stdin:
        await processes.write_stdin(who, record.id, started.number, stdin)
    if stdin is not None and not wanted.stdin_open and wanted.tty is None:
        await processes.close_stdin(who, record.id, started.number)
    return reply(process_body(started), 201)


@router.get(ALL, **op("list_processes", gives=ProcessList, fails=(404,)))
async def list_all(request: Request, sandbox: SandboxRef) -> Response:
    """List all processes that were ever started in it."""
    found = await front(request).services.processes.list(caller(request), sandbox)
    return reply({"items": [process_body(each) for each in found]})


@router.get(ONE, **op("get_process", gives=ProcessOut, fails=(404,)))
async def get(request: Request, sandbox: SandboxRef, pid: Pid) -> Response:
    """Read a process, with its exit once it has ended."""
    found = await front(request).services.processes.get(caller(request), sandbox, pid)
    return reply(process_body(found))


@router.delete(ONE, **op("kill_process", gives=ProcessOut, fails=(404,)))
async def kill(request: Request, sandbox: SandboxRef, pid: Pid) -> Response:
    """Kill it, and everything it has started in its group."""
    ended = await front(request).services.processes.kill(caller(request), sandbox, pid)
    return reply(process_body(ended))


@router.post(ONE + "/stdin", **op("write_stdin", status=204, body=_RAW, fails=(404, 409, 429)))
async def write_stdin(
    request: Request,
    sandbox: SandboxRef,
    pid: Pid,
    *,
    close: Annotated[bool, Query(description="End the input after this.")] = False,
) -> Response:
    """Write to its input; the body is taken as it is."""
    data = await read_bounded(request, STDIN_BYTES)
    processes, who = front(request).services.processes, caller(request)
    if data:
        await processes.write_stdin(who, sandbox, pid, data)
    elif not close:
        await processes.get(who, sandbox, pid)
    if close:
        await processes.close_stdin(who, sandbox, pid)
    return Response(status_code=204)


@router.post(
    ONE + "/signal", **op("signal_process", takes=SignalRequest, status=204, fails=(404, 409))
)
async def signal(request: Request, sandbox: SandboxRef, pid: Pid) -> Response:
    """Send it a signal."""
    wanted = await read(request, SignalRequest)
    await front(request).services.processes.signal(caller(request), sandbox, pid, wanted.number)
    return Response(status_code=204)


@router.post(ONE + "/resize", **op("resize_process", takes=TtyIn, status=204, fails=(404, 409)))
async def resize(request: Request, sandbox: SandboxRef, pid: Pid) -> Response:
    """Tell its terminal its size."""
    size = await read(request, TtyIn)
    processes = front(request).services.processes
    await processes.resize(caller(request), sandbox, pid, rows=size.rows, cols=size.cols)
    return Response(status_code=204)


@router.post(ONE + "/wait", **op("wait_process", gives=ProcessOut, fails=(404,)))
async def wait(
    request: Request,
    sandbox: SandboxRef,
    pid: Pid,
    timeout_s: Annotated[float, Query(ge=0, le=3600, allow_inf_nan=False)] = 30.0,
) -> Response:
    """Wait for its end; `exit` is null when it still runs after `timeout_s`."""
    processes, who = front(request).services.processes, caller(request)
    await request.body()
    await while_connected(request.receive, processes.wait(who, sandbox, pid, timeout_s))
    return reply(process_body(await processes.get(who, sandbox, pid)))
