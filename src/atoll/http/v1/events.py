"""The audit log, as pages or as it grows."""

from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import Forbidden
from atoll.http.answers import event_body, reply
from atoll.http.describe import op, ref, streaming
from atoll.http.front import Front, caller, front
from atoll.http.schemas.catalog import EventPage
from atoll.http.sse import MEDIA_TYPE, Events, EventStream, event
from atoll.http.v1.parameters import Limit, SandboxRef

router = APIRouter(tags=["audit"])
PAGE = 500
After = Annotated[int | None, Query(ge=0, le=2**62, description="Only events after this `seq`.")]
LastEvent = Annotated[int | None, Header(ge=0, le=2**62)]
_ANSWERS = streaming("audit", "error")
_ANSWERS[200]["content"]["application/json"] = {"schema": ref(EventPage)}


@router.get("/v1/events", **op("list_events", answers=_ANSWERS, fails=(429,)))
async def list_events(
    request: Request,
    *,
    limit: Limit = 100,
    cursor: After = None,
    all_tenants: Annotated[bool, Query(description="Everybody's; for admins.")] = False,
    last_event_id: LastEvent = None,
) -> Response:
    """Read the audit log; follow it with `Accept: text/event-stream`, from now or the cursor on."""
    who = caller(request)
    if all_tenants and not who.admin:
        raise Forbidden("Only an admin may read the events of all tenants.")
    log = _Log(front(request), None if all_tenants else who.tenant, None)
    return await log.answer(request, limit, cursor if last_event_id is None else last_event_id)


@router.get(
    "/v1/sandboxes/{sandbox}/events",
    **op("list_sandbox_events", answers=_ANSWERS, fails=(404, 429)),
)
async def list_sandbox_events(
    request: Request,
    sandbox: SandboxRef,
    limit: Limit = 100,
    cursor: After = None,
    last_event_id: LastEvent = None,
) -> Response:
    """The same of one sandbox, also after its end (by its id)."""
    who, here = caller(request), front(request)
    record = await here.services.sandboxes.get(who, sandbox)
    log = _Log(here, who.tenant, record.id)
    return await log.answer(request, limit, cursor if last_event_id is None else last_event_id)


class _Log:
    """What one caller may see."""

    def __init__(self, here: Front, tenant: str | None, sandbox_id: str | None) -> None:
        self._here = here
        self._tenant = tenant
        self._sandbox_id = sandbox_id

    async def answer(self, request: Request, limit: int, after: int | None) -> Response:
        """A page or a stream, as the client accepts."""
        if MEDIA_TYPE in request.headers.get("accept", ""):
            return EventStream(self._here, self._follow(after), follows=True)
        found = await self._here.services.store.list_events(
            self._tenant, sandbox_id=self._sandbox_id, after_seq=after or 0, limit=limit
        )
        last = found[-1].seq if found else after or 0
        return reply({"items": [event_body(each) for each in found], "next_cursor": str(last)})

    async def _follow(self, after: int | None) -> Events:
        """First what is stored after the cursor, then what comes; nothing twice."""
        services = self._here.services
        news = services.audit.subscribe(tenant=self._tenant, sandbox_id=self._sandbox_id)
        async with aclosing(news):
            seen = after
            while seen is not None:
                page = await services.store.list_events(
                    self._tenant, sandbox_id=self._sandbox_id, after_seq=seen, limit=PAGE
                )
                for each in page:
                    seen = each.seq
                    yield event("audit", event_body(each), each.seq)
                if len(page) < PAGE:
                    break
            async for each in news:
                if seen is None or each.seq > seen:
                    yield event("audit", event_body(each), each.seq)
