"""Whole directories in and out as tar, and news of changes in them."""

from contextlib import aclosing
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from atoll.http.answers import Json, reply
from atoll.http.describe import SANDBOX, op, streaming
from atoll.http.errors import printable
from atoll.http.front import Front, caller, front
from atoll.http.schemas.files import UnpackedOut
from atoll.http.sse import Events, EventStream, event
from atoll.http.streaming import ByteStream, gzipped
from atoll.http.v1.parameters import SandboxRef, Where
from atoll.service.caller import Caller

router = APIRouter(tags=["files"])
ARCHIVE = "/v1/sandboxes/{sandbox}/archive"
_TYPES = {"tar": "application/x-tar", "tar.gz": "application/gzip"}
_BINARY: Json = {"schema": {"type": "string", "format": "binary"}}
_CONTENT: Json = dict.fromkeys(_TYPES.values(), _BINARY)
_ANSWER: dict[int, Json] = {200: {"description": "The archive.", "content": _CONTENT}}


@router.get(ARCHIVE, **op("pack_archive", answers=_ANSWER, fails=SANDBOX))
async def pack(
    request: Request,
    sandbox: SandboxRef,
    path: Where = ".",
    format: Annotated[Literal["tar", "tar.gz"], Query()] = "tar",  # noqa: A002 - its name
) -> Response:
    """Take out a directory, or one file."""
    chunks = front(request).services.files.pack(caller(request), sandbox, path)
    headers = {"content-type": _TYPES[format], "cache-control": "no-cache"}
    return ByteStream(gzipped(chunks) if format == "tar.gz" else chunks, 200, headers)


@router.put(
    ARCHIVE,
    **op(
        "unpack_archive",
        gives=UnpackedOut,
        body={"required": True, "content": {**_CONTENT, "application/octet-stream": _BINARY}},
        fails=SANDBOX,
    ),
)
async def unpack(request: Request, sandbox: SandboxRef, path: Where = ".") -> Response:
    """Unpack beneath a directory; tar and tar.gz are told apart by their bytes."""
    files = front(request).services.files
    entries = await files.unpack(caller(request), sandbox, path, request.stream())
    return reply({"entries": entries})


@router.get(
    "/v1/sandboxes/{sandbox}/watch",
    **op("watch_files", answers=streaming("change", "error"), fails=SANDBOX),
)
async def watch(request: Request, sandbox: SandboxRef, path: Where = ".") -> EventStream:
    """Tell what changes in a directory, from now on."""
    here = front(request)
    return EventStream(here, _changes(here, caller(request), sandbox, path), follows=True)


async def _changes(here: Front, who: Caller, sandbox: str, path: str) -> Events:
    async with aclosing(here.services.files.watch(who, sandbox, path)) as changes:
        number = 0
        async for change in changes:
            number += 1
            body = {"kind": change.kind, "path": printable(change.path)}
            yield event("change", body, number)
