"""Snapshots of VMs, as clients see them."""

from typing import Any

from atoll.core.errors import Conflict
from atoll.core.model import MIB
from atoll.core.records import SnapshotRecord
from atoll.dialects.rundatsheesh.labels import DIALECT, NAME, OWN, notes
from atoll.dialects.rundatsheesh.machines import RUNNING, state_of
from atoll.dialects.rundatsheesh.names import moment, snapshot_id, vm_id
from atoll.dialects.rundatsheesh.state import State
from atoll.dialects.rundatsheesh.wishes import IMAGE, KIND, OVERLAY
from atoll.service.caller import Caller

SEED = "image_seed"
_PAGE = 100
_SCOPES = {
    "user": frozenset({OVERLAY}),
    "internal": frozenset({SEED}),
    "all": frozenset({OVERLAY, SEED}),
}


async def take(here: State, who: Caller, wanted: str) -> dict[str, Any]:
    """Freeze the files of a VM, which runs before and after. 409."""
    record = await here.machines.find(who, wanted)
    if state_of(record) != RUNNING:
        raise Conflict(f"VM must be RUNNING to snapshot (state={state_of(record)})")
    labels = {**OWN, KIND: OVERLAY}
    image = notes(record.labels).image
    if image is not None:
        labels[IMAGE] = image
    try:
        taken = await here.services.snapshots.take(who, record.id, labels=labels)
    finally:
        await here.services.sandboxes.start(who, record.id)
    shown = public(taken)
    entity = ("snapshot", str(shown["id"]))
    meta = {"vmId": vm_id(record.id)}
    message = f"Snapshot created: {shown['id']}"
    await here.activity.note("snapshot.created", message, entity=entity, meta=meta)
    return shown


async def listed(here: State, who: Caller, scope: str) -> list[dict[str, Any]]:
    """Those of a scope, the oldest first."""
    found: list[SnapshotRecord] = []
    after: str | None = None
    while True:
        page = await here.services.snapshots.list(who, after=after, limit=_PAGE)
        found += [
            each
            for each in page
            if each.labels.get(DIALECT) == NAME and each.labels.get(KIND) in _SCOPES[scope]
        ]
        if len(page) < _PAGE:
            return [public(each) for each in found]
        after = page[-1].id


def public(record: SnapshotRecord) -> dict[str, Any]:
    """What clients see of one."""
    kind = record.labels[KIND]
    shown: dict[str, Any] = {
        "id": snapshot_id(record.id),
        "kind": kind,
        "createdAt": moment(record.created_at),
        "cpu": int(record.limits.cpus),
        "memMb": record.limits.memory_bytes // MIB,
        "hasDisk": False,
        "hasOverlay": True,
    }
    if IMAGE in record.labels:
        shown["imageId"] = record.labels[IMAGE]
    if kind == OVERLAY:
        shown["sourceVmId"] = vm_id(record.sandbox_id)
    return shown
