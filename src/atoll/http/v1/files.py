"""Files in a persistent sandbox: content, conditions, ranges, listings, directories, moves."""

import posixpath
import re
from collections.abc import AsyncIterable
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import InvalidRequest, NotFound, TooLarge
from atoll.core.model import FileKind, Stat
from atoll.http.answers import FILE_MEDIA_TYPE, Json, entry_body, exact, reply
from atoll.http.bodies import parse, read, read_bounded
from atoll.http.describe import SANDBOX, op, ref
from atoll.http.front import Front, caller, front
from atoll.http.ranges import matches, wanted_range
from atoll.http.schemas.files import (
    EntryOut,
    FileIn,
    FileOperation,
    FileOut,
    Listing,
    MakeDirectory,
)
from atoll.http.streaming import ByteStream
from atoll.http.v1.parameters import SandboxRef
from atoll.service.caller import Caller

router = APIRouter(tags=["files"])
PLACE = "/v1/sandboxes/{sandbox}/files/{path:path}"
MOST_LINKS = 20
_IN_URL = re.compile(rb".*?/v1/sandboxes/[^/]+/files/(.*)", re.DOTALL)
_OCTET = "application/octet-stream"
_BINARY: Json = {"type": "string", "format": "binary"}
_HEADERS = {
    # The content is the guest's: no browser may run it as a page of this server.
    "content-type": _OCTET,
    "content-security-policy": "sandbox; default-src 'none'",
    "accept-ranges": "bytes",
    "cache-control": "no-cache",
}
_GET_ANSWERS: dict[int, Json] = {
    200: {
        "description": "The content, or in JSON what was asked for.",
        "content": {
            _OCTET: {"schema": _BINARY},
            "application/json": {"schema": {"anyOf": [ref(FileOut), ref(EntryOut), ref(Listing)]}},
        },
    },
    206: {"description": "A part of it.", "content": {_OCTET: {"schema": _BINARY}}},
    304: {"description": "It has not changed."},
}
_PUT_BODY: Json = {
    "required": False,
    "content": {_OCTET: {"schema": _BINARY}, FILE_MEDIA_TYPE: {"schema": ref(FileIn)}},
}
Flag = Annotated[bool, Query()]


def guest_path(request: Request) -> str:
    """The path in the URL, byte for byte: what is not UTF-8 becomes surrogate escapes."""
    raw = request.scope.get("raw_path") or request.scope["path"].encode()
    match = _IN_URL.fullmatch(raw)
    path = unquote_to_bytes(match[1] if match else b"")
    if b"\0" in path:
        raise InvalidRequest("A path must not hold a NUL byte.", field="path")
    return path.decode("utf-8", "surrogateescape") or "."


@router.get(PLACE, **op("read_file", answers=_GET_ANSWERS, fails=(*SANDBOX, 413, 416)))
async def read_file(
    request: Request,
    sandbox: SandboxRef,
    path: str,
    *,
    stat: Flag = False,
    list: Flag = False,  # noqa: A002 - as the API names it
    depth: Annotated[int, Query(ge=1, le=64)] = 1,
) -> Response:
    """Read a file; or its entry (`stat=true`), or what is beneath a directory (`list=true`)."""
    here, who, path = front(request), caller(request), guest_path(request)
    if list:
        return await _listing(here, who, sandbox, path, depth)
    if stat:
        return reply(entry_body(await here.services.files.stat(who, sandbox, path), sandbox))
    path, found = await _file(here, who, sandbox, path)
    accept = request.headers.get("accept", "")
    if "application/json" in accept and "*/*" not in accept:
        return await _in_json(here, who, sandbox, found, path)
    return _content(request, here, who, sandbox, path, found)


@router.head(PLACE, **op("head_file", answers=_GET_ANSWERS, fails=(*SANDBOX, 416)))
async def head_file(request: Request, sandbox: SandboxRef, path: str) -> Response:
    """Only the headers of a file."""
    here, who, path = front(request), caller(request), guest_path(request)
    path, found = await _file(here, who, sandbox, path)
    return _content(request, here, who, sandbox, path, found)


@router.put(PLACE, **op("write_file", gives=EntryOut, body=_PUT_BODY, fails=(*SANDBOX, 412)))
async def write_file(
    request: Request,
    sandbox: SandboxRef,
    path: str,
    mode: Annotated[str, Query(pattern=r"^0?[0-7]{3,4}$", description="In octal.")] = "644",
) -> Response:
    """Create or replace a file whole. `If-Match` and `If-None-Match: *` are heeded."""
    here, path = front(request), guest_path(request)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == FILE_MEDIA_TYPE:
        body = await read_bounded(request, here.settings.max_body_bytes)
        data: bytes | AsyncIterable[bytes] = parse(body, FileIn).decoded
    else:
        data = request.stream()
    written = await here.services.files.write(
        caller(request), sandbox, path, data, mode=int(mode, 8), if_match=_condition(request)
    )
    return reply(entry_body(written, sandbox), headers={"etag": written.etag})


@router.post(PLACE, **op("change_file", takes=FileOperation, gives=EntryOut, fails=SANDBOX))
async def change_file(request: Request, sandbox: SandboxRef, path: str) -> Response:
    """Make a directory (`mkdir`), or rename a file or directory (`move`)."""
    files, who, path = front(request).services.files, caller(request), guest_path(request)
    wanted = (await read(request, FileOperation)).root
    if isinstance(wanted, MakeDirectory):
        done = await files.mkdir(who, sandbox, path, mode=wanted.mode, parents=wanted.parents)
    else:
        done = await files.move(who, sandbox, path, wanted.to, overwrite=wanted.overwrite)
    return reply(entry_body(done, sandbox))


@router.delete(PLACE, **op("remove_file", status=204, fails=SANDBOX))
async def remove_file(
    request: Request, sandbox: SandboxRef, path: str, *, recursive: Flag = False
) -> Response:
    """Remove a file, or a directory (with all that is beneath it, where `recursive`)."""
    files, path = front(request).services.files, guest_path(request)
    await files.remove(caller(request), sandbox, path, recursive=recursive)
    return Response(status_code=204)


def _condition(request: Request) -> str | None:
    """`If-Match` and `If-None-Match` in the words of `core.ports.Files.write`."""
    if_match, if_none = request.headers.get("if-match"), request.headers.get("if-none-match")
    if if_none is not None:
        if if_none.strip() != "*" or if_match is not None:
            raise InvalidRequest("Only If-None-Match: * can be met.", field="If-None-Match")
        return ""
    if if_match is not None and ("," in if_match or not if_match.strip()):
        raise InvalidRequest("If-Match must be one ETag, or *.", field="If-Match")
    return if_match


async def _file(here: Front, who: Caller, sandbox: str, path: str) -> tuple[str, Stat]:
    """The regular file at the end of the links, each of them resolved inside the sandbox."""
    for _ in range(MOST_LINKS):
        found = await here.services.files.stat(who, sandbox, path)
        if found.kind is FileKind.FILE:
            return path, found
        if found.kind is not FileKind.SYMLINK or found.target is None:
            kind = found.kind.value
            raise InvalidRequest(f"It is no file but a {kind}; try ?list=true.", field="path")
        path = posixpath.join(posixpath.dirname(path), found.target)
    raise NotFound("file", path, "There are too many links on the way to the file.")


def _content(
    request: Request, here: Front, who: Caller, sandbox: str, path: str, found: Stat
) -> Response:
    headers = {**_HEADERS, "etag": found.etag}
    if matches(request.headers.get("if-none-match", ""), found.etag):
        return Response(status_code=304, headers=headers)
    part = wanted_range(request.headers, found.size, found.etag)
    offset, length = (0, found.size) if part is None else part
    headers["content-length"] = str(length)
    if part is not None:
        headers["content-range"] = f"bytes {offset}-{offset + length - 1}/{found.size}"
    status = 200 if part is None else 206
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    chunks = here.services.files.read(who, sandbox, path, offset=offset, length=length)
    return ByteStream(chunks, status, headers)


async def _in_json(here: Front, who: Caller, sandbox: str, found: Stat, path: str) -> Response:
    most = here.settings.max_body_bytes
    if found.size > most:
        raise TooLarge(f"Files over {most} bytes are not given in JSON.", limit=most)
    data = bytearray()
    async for chunk in here.services.files.read(who, sandbox, path, length=most):
        data += chunk
    content, encoding = exact(bytes(data))
    body = {**entry_body(found, sandbox), "content": content, "encoding": encoding}
    return reply(body, headers={"etag": found.etag})


async def _listing(here: Front, who: Caller, sandbox: str, path: str, depth: int) -> Response:
    items: list[Json] = []
    truncated = False
    entries = here.services.files.list(who, sandbox, path, depth=depth)
    try:
        async for each in entries:
            if len(items) == here.settings.max_listing:
                truncated = True
                break
            items.append(entry_body(each, sandbox))
    finally:
        await entries.aclose()
    return reply({"items": items, "truncated": truncated})
