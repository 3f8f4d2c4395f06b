"""The routes of logs: of the VM itself, and of what was run in it."""

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.model import Channel
from atoll.core.records import SandboxRecord
from atoll.dialects.rundatsheesh.bodies import LOGS_QUERY, RUNS_QUERY, query
from atoll.dialects.rundatsheesh.errors import bad
from atoll.dialects.rundatsheesh.names import moment
from atoll.dialects.rundatsheesh.state import State, reply, state
from atoll.dialects.rundatsheesh.who import admitted
from atoll.service.audit import Wanted
from atoll.service.caller import Caller

router = APIRouter(prefix="/v1/vms/{vm}")
LIFE = "firecracker.log"
_CHANNELS = {"firecracker.stdout.log": Channel.STDOUT, "firecracker.stderr.log": Channel.STDERR}
_TAIL, _RUNS = 200, 50
_TAIL_BYTES = 512 * 1024
_PAGE = 1000


@router.get("/logs")
async def logs(request: Request, vm: str) -> Response:
    """The last lines of the VM's life, or of what its programs have printed."""
    here = state(request)
    asked = query(request, LOGS_QUERY)
    kind, tail = asked.get("type", LIFE), asked.get("tail", _TAIL)
    who = await admitted(request)
    if kind != LIFE and kind not in _CHANNELS:
        raise bad("Invalid log type")
    record = await here.machines.find(who, vm)
    if kind == LIFE:
        lines, cut, at = await _life(here, record, tail)
    else:
        lines, cut, at = await _printed(here, who, record, _CHANNELS[kind], tail)
    found: dict[str, object] = {"type": kind, "lines": lines, "truncated": cut}
    if at is not None:
        found["updatedAt"] = moment(at)
    return reply(found)


@router.get("/exec-logs")
async def exec_logs(request: Request, vm: str) -> Response:
    """What was run in it, the newest first."""
    here = state(request)
    asked = query(request, RUNS_QUERY)
    who = await admitted(request)
    record = await here.machines.find(who, vm)
    entries, more = await here.runs.list(
        record.id, asked.get("type", "all"), asked.get("limit", _RUNS)
    )
    return reply({"entries": entries, "hasMore": more})


Lines = tuple[Sequence[str], bool, float | None]


async def _life(here: State, record: SandboxRecord, tail: int) -> Lines:
    """The sandbox's events, as lines."""
    audit, lines, after, at = here.services.audit, list[str](), 0, None
    await audit.flush()
    wanted = Wanted(tenant=record.tenant, sandbox_id=record.id)
    while page := await audit.page(wanted, after_seq=after, limit=_PAGE):
        for event in page:
            detail = " ".join(f"{key}={value}" for key, value in event.detail.items())
            line = f"{moment(event.at)} [{event.outcome}] {event.action} {detail}".rstrip()
            lines.append(line.replace("\n", "\\n"))
            at = event.at
        after = page[-1].seq
    return lines[-tail:], len(lines) > tail, at


async def _printed(
    here: State, who: Caller, record: SandboxRecord, channel: Channel, tail: int
) -> Lines:
    """What its programs have printed, the newest program last."""
    found: list[str] = []
    at: float | None = None
    for process in reversed(await here.services.processes.list(who, record.id)):
        at = at or process.ended_at or process.started_at
        data = await here.services.processes.log(
            who, record.id, process.number, channel=channel, tail_bytes=_TAIL_BYTES
        )
        found[:0] = data.decode("utf-8", "replace").splitlines()
        if len(found) > tail:
            break
    return found[-tail:], len(found) > tail, at
