"""The routes about sessions, files, variables and executions."""

import base64
import posixpath
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from atoll.core.errors import AtollError
from atoll.core.model import FileKind
from atoll.dialects.wasmrun.errors import BadRequest, NothingThere, told
from atoll.dialects.wasmrun.execute import check_env
from atoll.dialects.wasmrun.files import SessionFiles, content_of
from atoll.dialects.wasmrun.limits import SessionLimits
from atoll.dialects.wasmrun.outcome import Outcome
from atoll.dialects.wasmrun.schemas import CreateIn, ExecIn, WriteIn, parse, read, read_map
from atoll.dialects.wasmrun.sessions import Session
from atoll.dialects.wasmrun.state import State, caller, state, tenant
from atoll.http.errors import printable
from atoll.http.patience import while_connected
from atoll.http.sse import EventStream, event

router = APIRouter()
ONE = "/sessions/{session_id}"


def _takes(model: type[Any]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    return {"requestBody": {"content": {"application/json": {"schema": schema}}}}


@router.post("/sessions", openapi_extra=_takes(CreateIn))
async def create_session(request: Request) -> Response:
    """Make a session."""
    here = state(request)
    body = await request.body()
    asked = parse(body, CreateIn) if body else CreateIn()
    owner = tenant(request)
    usual = SessionLimits.of(here.options)
    limits = usual.changed(asked.limits).within(owner.limits if owner else None)
    session = await here.sessions.create(caller(request), limits)
    created = datetime.fromtimestamp(session.created_at, UTC).isoformat().replace("+00:00", "Z")
    return JSONResponse({"session_id": session.id, "created_at": created})


@router.get("/sessions")
async def list_sessions(request: Request) -> Response:
    """List the caller's sessions."""
    here = state(request)
    found = [_status(here, each) for each in await here.sessions.list(caller(request))]
    return JSONResponse({"sessions": found, "count": len(found)})


@router.get(ONE)
async def session_status(request: Request, session_id: str) -> Response:
    """Tell how old a session is."""
    here = state(request)
    found = await here.sessions.get(caller(request), session_id)
    return JSONResponse(_status(here, found))


@router.delete(ONE)
async def destroy_session(request: Request, session_id: str) -> Response:
    """End a session."""
    await state(request).sessions.destroy(caller(request), session_id)
    return JSONResponse({"message": f"Session {session_id} destroyed"})


@router.post(f"{ONE}/files", openapi_extra=_takes(WriteIn))
async def write_file(request: Request, session_id: str) -> Response:
    """Write a file."""
    here = state(request)
    body = await read(request, WriteIn)
    async with here.sessions.using(caller(request), session_id) as session:
        files = SessionFiles(here.front.services.files, session)
        await files.write(body.path, content_of(body.content, body.encoding))
    return JSONResponse({"message": f"Written: {printable(body.path)}"})


@router.get(f"{ONE}/files")
async def read_file(request: Request, session_id: str, path: str = "/") -> Response:
    """Read a file, or list a directory (`list=true`)."""
    here = state(request)
    async with here.sessions.using(caller(request), session_id) as session:
        files = SessionFiles(here.front.services.files, session)
        if request.query_params.get("list") == "true":
            return await _listing(files, path)
        data = await files.read(path)
    if request.query_params.get("encoding") == "base64":
        content = base64.b64encode(data).decode("ascii")
        return JSONResponse({"path": printable(path), "content": content, "encoding": "base64"})
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise NothingThere(f"{path}: stream did not contain valid UTF-8") from None
    return JSONResponse({"path": printable(path), "content": text})


@router.delete(f"{ONE}/files")
async def delete_file(request: Request, session_id: str, path: str | None = None) -> Response:
    """Delete a file, or a directory with all that is in it."""
    here = state(request)
    async with here.sessions.using(caller(request), session_id) as session:
        if path is None:
            raise BadRequest("Missing path parameter")
        await SessionFiles(here.front.services.files, session).remove(path)
    return JSONResponse({"message": f"Deleted: {printable(path)}"})


@router.post(f"{ONE}/env")
async def set_env(request: Request, session_id: str) -> Response:
    """Set variables for the executions to come."""
    here = state(request)
    wanted = await read_map(request)
    check_env(wanted)
    async with here.sessions.using(caller(request), session_id) as session:
        check_env({**session.env, **wanted})
        session.env.update(wanted)
        await here.sessions.keep_env(session)
    return JSONResponse({"message": f"Set {len(wanted)} environment variable(s)"})


@router.get(f"{ONE}/env")
async def get_env(request: Request, session_id: str) -> Response:
    """Read the variables."""
    async with state(request).sessions.using(caller(request), session_id) as session:
        return JSONResponse({"env": {k: printable(v) for k, v in session.env.items()}})


@router.post(f"{ONE}/exec", openapi_extra=_takes(ExecIn))
async def execute(request: Request, session_id: str) -> Response:
    """Execute a line, a project, code or a module."""
    here = state(request)
    who = caller(request)
    await here.sessions.get(who, session_id)
    body = await read(request, ExecIn)
    here.executor.check(body)
    if body.stream:
        return _stream(here, _events(here, request, session_id, body))

    async def run() -> Outcome:
        async with here.sessions.using(who, session_id, for_s=body.timeout) as session:
            try:
                return await here.executor.run(session, body)
            finally:
                await here.sessions.keep_env(session)

    return JSONResponse((await while_connected(request.receive, run())).body())


def _stream(here: State, events: AsyncGenerator[bytes, None]) -> Response:
    answer = EventStream(here.front, events)
    answer.headers["cache-control"] = "no-cache"
    answer.headers["connection"] = "close"
    del answer.headers["x-accel-buffering"]
    return answer


async def _events(
    here: State, request: Request, session_id: str, body: ExecIn
) -> AsyncGenerator[bytes, None]:
    begun = False
    try:
        async with (
            here.sessions.using(caller(request), session_id, for_s=body.timeout) as session,
            aclosing(here.executor.stream(session, body)) as pieces,
        ):
            async for piece in pieces:
                begun = True
                if piece is None:
                    yield b""
                elif isinstance(piece, Outcome):
                    await here.sessions.keep_env(session)
                    yield event("result", piece.body())
                else:
                    yield event("output", {"stdout": piece[0], "stderr": piece[1]})
    except AtollError as error:
        if not begun:
            raise
        yield event("result", Outcome(error=told(error)[1]).body())


def _status(here: State, session: Session) -> dict[str, object]:
    expired = here.sessions.is_expired(session)
    return {
        "session_id": session.id,
        "state": "expired" if expired else "active",
        "created_at_elapsed_ms": round(here.sessions.age_s(session) * 1000),
        "last_accessed_elapsed_ms": round(here.sessions.idle_s(session) * 1000),
        "timeout_secs": here.options.timeout_s,
    }


async def _listing(files: SessionFiles, path: str) -> Response:
    entries = [
        {
            "name": printable(posixpath.basename(entry.path)),
            "is_dir": entry.kind is FileKind.DIRECTORY,
            "size": entry.size,
        }
        for entry in await files.list(path)
    ]
    return JSONResponse({"path": printable(path), "entries": entries})
