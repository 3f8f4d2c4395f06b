"""The routes of commands in a sandbox, those that are waited for and those that are not."""

from contextlib import aclosing, suppress

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import NotFound
from atoll.core.model import Channel
from atoll.core.records import ProcessRecord
from atoll.dialects.agentkernel import boxes
from atoll.dialects.agentkernel.document import takes
from atoll.dialects.agentkernel.programs import failure, printed, program
from atoll.dialects.agentkernel.schemas import ExecIn, read
from atoll.dialects.agentkernel.shapes import detached
from atoll.dialects.agentkernel.state import State, caller, reply, state
from atoll.http.patience import while_connected
from atoll.service.caller import Caller

router = APIRouter()
EXEC = "/sandboxes/{name}/exec"
ONE = f"{EXEC}/detached/{{command}}"
LOG_BYTES = 16 * 1024 * 1024
_DIGITS = 9


@router.post(EXEC, openapi_extra=takes(ExecIn))
async def execute(request: Request, name: str) -> Response:
    """Run a command and answer when it has ended."""
    here, who = state(request), caller(request)
    record = await boxes.find(here, who, name)
    spec = await program(here, await read(request, ExecIn), record)
    work = here.services.processes.run(who, record.id, spec)
    result = await while_connected(request.receive, work)
    output = printed(result.stdout, result.stderr)
    failed = failure(result.exit, output)
    if failed is not None:
        raise failed
    return reply({"output": output})


@router.post(f"{EXEC}/detach", openapi_extra=takes(ExecIn))
async def detach(request: Request, name: str) -> Response:
    """Start a command and leave it to itself."""
    here, who = state(request), caller(request)
    record = await boxes.find(here, who, name)
    spec = await program(here, await read(request, ExecIn), record)
    started = await here.services.processes.start(who, record.id, spec)
    return reply(detached(started, name))


@router.get(f"{EXEC}/detached")
async def list_detached(request: Request, name: str) -> Response:
    """List those that were started so."""
    here, who = state(request), caller(request)
    record = await boxes.find(here, who, name)
    found = await here.services.processes.list(who, record.id)
    return reply([detached(each, name) for each in found if each.background])


@router.get(ONE)
async def get_detached(request: Request, name: str, command: str) -> Response:
    """Tell whether one has ended, and how."""
    _, found = await _one(state(request), caller(request), name, command)
    return reply(detached(found, name))


@router.get(f"{ONE}/logs")
async def detached_logs(request: Request, name: str, command: str) -> Response:
    """Tell what one has printed so far."""
    here, who = state(request), caller(request)
    sandbox, found = await _one(here, who, name, command)
    wanted = request.query_params.get("stream") == "stderr"
    channel = Channel.STDERR if wanted else Channel.STDOUT
    data = bytearray()
    reading = here.services.processes.output(
        who, sandbox, found.number, channel=channel, follow=False
    )
    async with aclosing(reading) as chunks:
        async for chunk in chunks:
            data += chunk.data
            if len(data) >= LOG_BYTES:
                break
    return reply({channel.value: data[:LOG_BYTES].decode("utf-8", "replace")})


@router.delete(ONE)
async def kill_detached(request: Request, name: str, command: str) -> Response:
    """End one."""
    here, who = state(request), caller(request)
    sandbox, found = await _one(here, who, name, command)
    await here.services.processes.kill(who, sandbox, found.number)
    return reply("Command killed")


async def _one(here: State, who: Caller, name: str, command: str) -> tuple[str, ProcessRecord]:
    """The sandbox's id and the command's record."""
    record = await boxes.find(here, who, name)
    if command.isascii() and command.isdecimal() and len(command) <= _DIGITS:
        with suppress(NotFound):
            found = await here.services.processes.get(who, record.id, int(command))
            if found.background:
                return record.id, found
    raise NotFound("detached command", command[:80], "Detached command not found")
