"""The output of a process, from any position, as often as one likes."""

from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.model import Channel
from atoll.core.records import ProcessRecord
from atoll.http.answers import exit_body
from atoll.http.describe import op, streaming
from atoll.http.front import Front, caller, front
from atoll.http.schemas.words import TextEncoding
from atoll.http.sse import Events, EventStream, event
from atoll.http.text import OutputEvents
from atoll.http.v1.parameters import Pid, SandboxRef
from atoll.service.caller import Caller

router = APIRouter(tags=["processes"])
SETTLED_S = 10.0
_RAW = {
    # The content is the guest's: no browser may run it as a page of this server.
    "content-type": "application/octet-stream",
    "content-security-policy": "sandbox; default-src 'none'",
}
Position = Annotated[int, Query(ge=0, le=2**62, description="Where to begin, in bytes.")]


@router.get(
    "/v1/sandboxes/{sandbox}/processes/{pid}/output",
    **op(
        "read_output",
        answers=streaming("stdout", "stderr", "exit", "error"),
        fails=(404, 429),
    ),
)
async def output(
    request: Request,
    sandbox: SandboxRef,
    pid: Pid,
    *,
    position: Position = 0,
    follow: Annotated[bool, Query(description="Stay until the process has ended.")] = True,
    channel: Annotated[Channel | None, Query(description="Only this one.")] = None,
    encoding: TextEncoding = "utf-8",
    last_event_id: Annotated[int | None, Header(ge=0, le=2**62)] = None,
) -> EventStream:
    """Follow the output. `Last-Event-ID` goes before `position`."""
    here, who = front(request), caller(request)
    record = await here.services.processes.get(who, sandbox, pid)
    begin = position if last_event_id is None else last_event_id
    reading = Reading(here, who, record, base64=encoding == "base64")
    return EventStream(here, reading.events(channel, begin, follow=follow), follows=True)


@router.get(
    "/v1/sandboxes/{sandbox}/processes/{pid}/log",
    **op(
        "read_log",
        answers={
            200: {
                "description": "Exactly what it wrote.",
                "content": {
                    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
                },
            }
        },
        fails=(404,),
    ),
)
async def log(
    request: Request,
    sandbox: SandboxRef,
    pid: Pid,
    *,
    channel: Annotated[Channel | None, Query(description="Only this one.")] = None,
    tail_bytes: Annotated[int | None, Query(ge=1, le=2**40, description="Only the end.")] = None,
) -> Response:
    """Read what it has written so far, without waiting for more."""
    here, who = front(request), caller(request)
    processes = here.services.processes
    data = await processes.log(who, sandbox, pid, channel=channel, tail_bytes=tail_bytes)
    return Response(data, headers=_RAW)


class Reading:
    """One reader of one process."""

    def __init__(self, here: Front, who: Caller, record: ProcessRecord, *, base64: bool) -> None:
        self._processes = here.services.processes
        self._who = who
        self._record = record
        self._base64 = base64

    async def events(self, channel: Channel | None, position: int, *, follow: bool) -> Events:
        """Output as events, and how it ended."""
        record, told = self._record, OutputEvents(base64=self._base64)
        reading = self._processes.output(
            self._who,
            record.sandbox_id,
            record.number,
            channel=channel,
            position=position,
            follow=follow,
        )
        async with aclosing(reading) as chunks:
            async for chunk in chunks:
                position = chunk.position_after
                if events := told.chunk(chunk.channel, chunk.data, position, chunk.skipped):
                    yield events
        end = await self._processes.wait(
            self._who, record.sandbox_id, record.number, SETTLED_S if follow else 0.0
        )
        last = told.rest(position)
        if end is not None:
            last += event("exit", exit_body(end), position)
        if last:
            yield last
