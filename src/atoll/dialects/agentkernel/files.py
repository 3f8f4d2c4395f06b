"""The routes of files."""

from contextlib import aclosing

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import InvalidRequest, NotFound, TooLarge
from atoll.dialects.agentkernel import boxes
from atoll.dialects.agentkernel.document import takes
from atoll.dialects.agentkernel.errors import BadRequest
from atoll.dialects.agentkernel.schemas import WriteIn, WriteManyIn, read
from atoll.dialects.agentkernel.state import State, caller, reply, state
from atoll.dialects.agentkernel.words import check_name, decoded, encoded, place
from atoll.http.errors import printable
from atoll.service.caller import Caller

router = APIRouter()
ALL = "/sandboxes/{name}/files"
ONE = f"{ALL}/{{path:path}}"
READ_BYTES = 16 * 1024 * 1024


@router.get(ONE)
async def read_file(request: Request, name: str, path: str) -> Response:
    """Read a file; what is not UTF-8 is base64."""
    here, who = state(request), caller(request)
    record = await boxes.find(here, who, name)
    where = place(path)
    try:
        data = await _content(here, who, record.id, where)
    except (NotFound, InvalidRequest):
        shown = f"File not found: {printable(where)}"
        raise NotFound("file", where, shown) from None
    content, encoding = encoded(data)
    return reply({"content": content, "encoding": encoding, "size": len(data)})


@router.put(ONE, openapi_extra=takes(WriteIn))
async def write_file(request: Request, name: str, path: str) -> Response:
    """Create or replace a file; its parents are made."""
    here, who = state(request), caller(request)
    check_name(name)
    where = place(path)
    body = await read(request, WriteIn)
    data = decoded(body.content, body.encoding)
    record = await boxes.find(here, who, name)
    await here.services.files.write(who, record.id, where, data)
    return reply(f"Wrote {len(data)} bytes to {printable(where)}")


@router.delete(ONE)
async def delete_file(request: Request, name: str, path: str) -> Response:
    """Delete a file."""
    here, who = state(request), caller(request)
    record = await boxes.find(here, who, name)
    where = place(path)
    if where == "/":
        raise BadRequest("Cannot access system path: /")
    await here.services.files.remove(who, record.id, where)
    return reply(f"Deleted {printable(where)}")


@router.post(ALL, openapi_extra=takes(WriteManyIn))
async def write_files(request: Request, name: str) -> Response:
    """Write several texts; all paths are checked before anything is written."""
    here, who = state(request), caller(request)
    record = await boxes.find(here, who, name)
    body = await read(request, WriteManyIn)
    if not body.files:
        raise BadRequest("files map is empty")
    wanted = {place(path): decoded(text, "utf8") for path, text in body.files.items()}
    for where, data in wanted.items():
        await here.services.files.write(who, record.id, where, data)
    return reply({"written": len(wanted)})


async def _content(here: State, who: Caller, sandbox: str, where: str) -> bytes:
    data = bytearray()
    reading = here.services.files.read(who, sandbox, where, length=READ_BYTES + 1)
    async with aclosing(reading) as chunks:
        async for chunk in chunks:
            data += chunk
    if len(data) > READ_BYTES:
        raise TooLarge(f"File too large to be read here: over {READ_BYTES} bytes", limit=READ_BYTES)
    return bytes(data)
