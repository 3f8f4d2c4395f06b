"""Finding and making sandboxes, for all routes that speak of one."""

from collections.abc import Mapping, Sequence

from atoll.core.errors import Conflict, NotFound
from atoll.core.model import MIB
from atoll.core.records import SandboxRecord
from atoll.core.states import TERMINAL
from atoll.dialects.agentkernel.errors import BadRequest, NameTaken
from atoll.dialects.agentkernel.notes import NOTES, labelled
from atoll.dialects.agentkernel.programs import HOST, create_profile
from atoll.dialects.agentkernel.schemas import CreateIn, native
from atoll.dialects.agentkernel.state import State
from atoll.dialects.agentkernel.words import check_name, just_before, port, uuid_of
from atoll.http.schemas.execution import LimitsIn
from atoll.http.schemas.sandbox import CreateSandboxRequest
from atoll.service.caller import Caller

PAGE = 100


async def find(here: State, who: Caller, name: str) -> SandboxRecord:
    """A living sandbox by its name, or by its id where it has none."""
    record = await here.services.sandboxes.get(who, check_name(name))
    if record.state in TERMINAL:
        raise NotFound("sandbox", name)
    return record


async def find_uuid(here: State, who: Caller, wanted: str) -> SandboxRecord:
    """The one whose id begins with the same time, and has that UUID."""
    exact, after = just_before(wanted)
    prefix = after
    while page := await here.services.sandboxes.list(who, after=after, limit=PAGE):
        for record in page:
            if not record.id.startswith(prefix):
                raise NotFound("sandbox", wanted)
            if uuid_of(record.id) == exact:
                return record
        after = page[-1].id
    raise NotFound("sandbox", wanted)


async def everyone(
    here: State, who: Caller, labels: Mapping[str, str] | None = None
) -> Sequence[SandboxRecord]:
    """All living ones of the caller."""
    found: list[SandboxRecord] = []
    after: str | None = None
    while True:
        page = await here.services.sandboxes.list(who, labels=labels, after=after, limit=PAGE)
        found += page
        if len(page) < PAGE:
            return found
        after = page[-1].id


async def create(here: State, who: Caller, body: CreateIn) -> SandboxRecord:
    """Make one; it runs."""
    name = check_name(body.name)
    profile = create_profile(here, body.profile)
    if body.source_ref is not None:
        raise BadRequest("source_ref needs source_url")
    body.refuse_not_yet()
    limits: dict[str, int | float] = {}
    if body.vcpus is not None:
        limits["cpus"] = float(body.vcpus)
    if body.memory_mb is not None:
        limits["memory_bytes"] = body.memory_mb * MIB
    request = native(
        CreateSandboxRequest,
        name=name,
        image=body.image or HOST,
        profile=profile,
        limits=native(LimitsIn, **limits) if limits else None,
        labels=labelled(body.labels or {}, {name: getattr(body, name) for name in NOTES}),
        ports=[port(each) for each in body.ports or ()],
        backend=body.backend,
        **(body.lifecycle.native() if body.lifecycle is not None else {}),
    )
    await refuse_taken(here, who, name)
    try:
        return await here.services.sandboxes.create(here.front.translator.create(request), who)
    except Conflict as error:
        raise NameTaken(error.detail) from None


async def refuse_taken(here: State, who: Caller, name: str) -> None:
    """Say in agentkernel's words that a name is another's; the store says it again if need be."""
    try:
        await here.services.sandboxes.get(who, name)
    except NotFound:
        return
    raise NameTaken(f"Sandbox '{name}' already exists")
