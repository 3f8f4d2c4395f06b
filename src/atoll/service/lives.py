"""Steps of a sandbox's life: each one is a compare-and-set on its record."""

from dataclasses import replace

from atoll.core.errors import Conflict, NotFound, PreconditionFailed
from atoll.core.model import SandboxSpec
from atoll.core.records import PostMortem, SandboxRecord
from atoll.core.states import State, check
from atoll.core.store import Store
from atoll.service.caller import Caller

_TRIES = 16


async def turn(
    store: Store,
    record: SandboxRecord,
    state: State,
    *,
    last_used_at: float | None = None,
    confirm: bool = False,
) -> SandboxRecord:
    """Store the step to `state`; the record as it is then.

    `Gone` or `Conflict` when the stored state does not allow the step; changes that others made
    meanwhile are kept. A record that has the state already is returned as it is, unless `confirm`
    asks to write it anyway, which finds out whether it is still true.
    """
    for _ in range(_TRIES):
        if record.state is not state:
            check(record.id, record.state, state)
        elif not confirm:
            return record
        used = max(record.last_used_at, last_used_at or 0.0)
        try:
            return await store.save_sandbox(replace(record, state=state, last_used_at=used))
        except PreconditionFailed:
            record = await fresh(store, record)
    raise Conflict(f"Sandbox {record.id} is being changed by too many at once.")


async def fresh(store: Store, record: SandboxRecord) -> SandboxRecord:
    """The record as it is stored now. `NotFound` when it was pruned."""
    found = await store.get_sandbox(record.tenant, record.id)
    if found is None:
        raise NotFound("sandbox", record.id)
    return found


def spec_of(record: SandboxRecord) -> SandboxSpec:
    """What to open. The base counts only while it is being made: then its files are its own."""
    return SandboxSpec(
        id=record.id,
        image=record.image,
        limits=record.limits,
        network=record.network,
        env=record.env,
        preload=record.preload,
        persistent=True,
        base=record.base if record.state is State.CREATING else None,
        read_only_root=record.read_only_root,
    )


def post_mortem(
    record: SandboxRecord, *, ended_by: str, detail: str, at: float, last_output: bytes = b""
) -> PostMortem:
    """What is kept of an end."""
    return PostMortem(
        sandbox_id=record.id,
        tenant=record.tenant,
        name=record.name,
        ended_by=ended_by,
        detail=detail,
        at=at,
        limits=record.limits,
        last_output=last_output.decode("utf-8", "replace").replace(
            "\0", "\N{REPLACEMENT CHARACTER}"
        ),
    )


def on_behalf_of(record: SandboxRecord, actor: str) -> Caller:
    """A part of the server itself, acting on a tenant's sandbox, for the audit log."""
    return Caller(
        tenant=record.tenant,
        actor=actor,
        admin=False,
        key_id=None,
        max_sandboxes=0,
        max_concurrent=0,
    )
