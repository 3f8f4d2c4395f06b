"""The audit log, as pages or as it grows."""

from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import Forbidden, NotFound
from atoll.http.answers import event_body, reply
from atoll.http.describe import op, ref, streaming
from atoll.http.front import Front, caller, front
from atoll.http.schemas.catalog import EventPage
from atoll.http.sse import MEDIA_TYPE, Events, EventStream, event
from atoll.http.v1.parameters import SANDBOX, Limit, SandboxRef
from atoll.service.audit import Wanted
from atoll.service.caller import Caller

router = APIRouter(tags=["audit"])
PAGE = 500
After = Annotated[int | None, Query(ge=0, le=2**62, description="Only events after this `seq`.")]
Actions = Annotated[
    list[Annotated[str, Query(pattern=r"^[a-z][a-z0-9_.-]{0,63}(\.\*)?$")]] | None,
    Query(max_length=32, description="Only this kind: `run`, or all of `sandbox.*`. Repeatable."),
]
Since = Annotated[
    float | None, Query(ge=0, le=2**53, description="Not before this time, in epoch seconds.")
]
Until = Annotated[float | None, Query(ge=0, le=2**53, description="Before this time.")]
LastEvent = Annotated[int | None, Header(ge=0, le=2**62)]
_ANSWERS = streaming("audit", "error")
_ANSWERS[200]["content"]["application/json"] = {"schema": ref(EventPage)}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which events, and from where on."""

    limit: int
    after: int | None
    actions: tuple[str, ...]
    since: float | None
    until: float | None


def _choice(
    limit: Limit = 100,
    cursor: After = None,
    action: Actions = None,
    since: Since = None,
    until: Until = None,
    last_event_id: LastEvent = None,
) -> Choice:
    after = cursor if last_event_id is None else last_event_id
    return Choice(limit, after, tuple(action or ()), since, until)


Chosen = Annotated[Choice, Depends(_choice)]


@router.get("/v1/events", **op("list_events", answers=_ANSWERS, fails=(429,)))
async def list_events(
    request: Request,
    choice: Chosen,
    *,
    sandbox: Annotated[
        str | None,
        Query(pattern=SANDBOX, description="Only what concerns this one; of an ended one the id."),
    ] = None,
    all_tenants: Annotated[bool, Query(description="Everybody's; for admins.")] = False,
) -> Response:
    """Read the audit log; follow it with `Accept: text/event-stream`, from now or the cursor on."""
    who, here = caller(request), front(request)
    if all_tenants and not who.admin:
        raise Forbidden("Only an admin may read the events of all tenants.")
    about = None if sandbox is None else await _known(here, who, sandbox)
    return await _Log(here, None if all_tenants else who.tenant, about, choice).answer(request)


@router.get(
    "/v1/sandboxes/{sandbox}/events",
    **op("list_sandbox_events", answers=_ANSWERS, fails=(404, 429)),
)
async def list_sandbox_events(request: Request, sandbox: SandboxRef, choice: Chosen) -> Response:
    """The same of one sandbox, also after its end (by its id), and of one-shots."""
    who, here = caller(request), front(request)
    about = await _known(here, who, sandbox, must=True)
    return await _Log(here, who.tenant, about, choice).answer(request)


async def _known(here: Front, who: Caller, sandbox: str, *, must: bool = False) -> str:
    """The id of a sandbox; what has no record any more may still have events, by its id.

    `NotFound` if it `must` have one or the other.
    """
    try:
        return (await here.services.sandboxes.get(who, sandbox)).id
    except NotFound:
        audit = here.services.audit
        if must:
            await audit.flush()
            if not await audit.page(Wanted(who.tenant, sandbox), after_seq=0, limit=1):
                raise
        return sandbox


class _Log:
    """What one caller may see and asks for."""

    def __init__(
        self, here: Front, tenant: str | None, sandbox_id: str | None, choice: Choice
    ) -> None:
        self._here = here
        self._choice = choice
        self._wanted = Wanted(tenant, sandbox_id, choice.actions, choice.since, choice.until)

    async def answer(self, request: Request) -> Response:
        """A page or a stream, as the client accepts."""
        limit, after = self._choice.limit, self._choice.after
        if MEDIA_TYPE in request.headers.get("accept", ""):
            return EventStream(self._here, self._follow(after), follows=True)
        audit = self._here.services.audit
        found = await audit.page(self._wanted, after_seq=after or 0, limit=limit)
        last = found[-1].seq if found else after or 0
        return reply({"items": [event_body(each) for each in found], "next_cursor": str(last)})

    async def _follow(self, after: int | None) -> Events:
        """First what is stored after the cursor, then what comes; nothing twice."""
        audit = self._here.services.audit
        news = audit.subscribe(self._wanted)
        async with aclosing(news):
            seen = after
            while seen is not None:
                page = await audit.page(self._wanted, after_seq=seen, limit=PAGE)
                for each in page:
                    seen = each.seq
                    yield event("audit", event_body(each), each.seq)
                if len(page) < PAGE:
                    break
            async for each in news:
                if seen is None or each.seq > seen:
                    yield event("audit", event_body(each), each.seq)
