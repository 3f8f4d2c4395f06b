"""The routes of what happened: a sandbox's log, and events as they come."""

import json
import os
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import NotFound
from atoll.core.records import Event
from atoll.dialects.agentkernel import boxes
from atoll.dialects.agentkernel.notes import plain
from atoll.dialects.agentkernel.shapes import LOGGED, Json, log_entries, told
from atoll.dialects.agentkernel.state import State, caller, reply, state, stream
from atoll.dialects.agentkernel.words import is_name, moment, name_of
from atoll.http.sse import event
from atoll.service.audit import Wanted
from atoll.service.caller import Caller

router = APIRouter()
PAGE = 500
MOST_ENTRIES = 10_000
_EVENTS: Mapping[str, str] = {
    "sandbox.create": "sandbox.created",
    "sandbox.start": "sandbox.started",
    "sandbox.stop": "sandbox.stopped",
    "sandbox.stopped": "sandbox.stopped",
    "sandbox.destroy": "sandbox.deleted",
    "sandbox.destroyed": "sandbox.deleted",
    "process.run": "sandbox.exec.completed",
}


@router.get("/sandboxes/{name}/logs")
async def sandbox_logs(request: Request, name: str) -> Response:
    """Tell what happened to a sandbox, in order; the newest, where it is too much."""
    here, who = state(request), caller(request)
    if here.options.statuses == "documented" and not is_name(name):
        # The document knows no 400 here: what can be no name is one that nobody has.
        raise NotFound("sandbox", name)
    record = await boxes.find(here, who, name)
    await here.services.audit.flush()
    wanted = Wanted(who.tenant, record.id, LOGGED)
    entries: deque[Json] = deque(maxlen=MOST_ENTRIES)
    after = 0
    while page := await here.services.audit.page(wanted, after_seq=after, limit=PAGE):
        for each in page:
            entries += log_entries(each, name, os.getpid(), _command(each))
        after = page[-1].seq
    return reply(list(entries))


@router.get("/events")
async def events(request: Request) -> Response:
    """Tell what happens to sandboxes, from now on."""
    here, who = state(request), caller(request)
    name = request.query_params.get("sandbox")
    sandbox_id = None if name is None else (await boxes.find(here, who, name)).id
    return stream(here, _follow(here, who, sandbox_id), follows=True)


async def _follow(here: State, who: Caller, sandbox_id: str | None) -> AsyncGenerator[bytes, None]:
    news = here.services.audit.subscribe(Wanted(who.tenant, sandbox_id, tuple(_EVENTS)))
    async with aclosing(news):
        async for each in news:
            if each.sandbox_id is None or not told(each):
                continue
            name, labels = each.detail.get("name", each.sandbox_id), dict[str, str]()
            with suppress(NotFound):
                record = await here.services.sandboxes.get(who, each.sandbox_id)
                name, labels = name_of(record), plain(record.labels)
            kind = _EVENTS[each.action]
            body: Json = {
                "event": kind,
                "timestamp": moment(each.at),
                "sandbox": name,
                "labels": labels,
                "metadata": dict(each.detail),
            }
            yield event(kind, body)


def _command(told: Event) -> list[str]:
    """The command of an event that has one."""
    words: list[str] = json.loads(told.detail.get("command", "[]"))
    return words
