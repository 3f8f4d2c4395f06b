"""VMs: sandboxes that this dialect has made. Finding, making, starting, stopping, deleting."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio

from atoll.core.errors import AtollError, Conflict, NotFound
from atoll.core.images import HOST
from atoll.core.model import MIB
from atoll.core.records import SandboxRecord
from atoll.core.states import TERMINAL
from atoll.core.states import State as Stage
from atoll.dialects.rundatsheesh.activity import Activity
from atoll.dialects.rundatsheesh.errors import SheeshError, bad
from atoll.dialects.rundatsheesh.imagerows import ImageRows
from atoll.dialects.rundatsheesh.labels import DIALECT, NAME, OWN, Notes, notes
from atoll.dialects.rundatsheesh.names import moment, sandbox_of, vm_id
from atoll.dialects.rundatsheesh.options import Options
from atoll.dialects.rundatsheesh.runs import Runs
from atoll.dialects.rundatsheesh.secretenv import SecretEnv
from atoll.dialects.rundatsheesh.wishes import ENV, Wish, policy
from atoll.http.services import Services
from atoll.service.backends import NETWORK
from atoll.service.caller import Caller
from atoll.service.locks import Locks
from atoll.service.requests import ChangeSandbox, CreateSandbox
from atoll.settings import Settings

_PAGE = 100
_NO_ID = frozenset({"", "undefined", "null"})
RUNNING, STOPPED, STOPPING, STARTING = "RUNNING", "STOPPED", "STOPPING", "STARTING"
_LOOPBACK = "127.0.0.1"


class Machines:
    """The use cases of VMs."""

    def __init__(
        self,
        *,
        services: Services,
        settings: Settings,
        options: Options,
        images: ImageRows,
        runs: Runs,
        activity: Activity,
    ) -> None:
        self._services = services
        self._settings = settings
        self._options = options
        self._images = images
        self._runs = runs
        self._activity = activity
        word = options.vm_secret_key
        self.secrets = SecretEnv(
            services.store, services.clock, None if word is None else word.get_secret_value()
        )
        # VMs of this server, and those in which nothing half done is left of an earlier one.
        self._settled: set[str] = set()
        self._turning = Locks()
        self._counting = anyio.Lock()
        self._on_their_way = 0

    async def find(self, who: Caller, wanted: str, *, briefly: bool = False) -> SandboxRecord:
        """A living VM. 400 `Invalid VM id`, 404."""
        if wanted in _NO_ID:
            raise bad("Invalid VM id")
        unknown = SheeshError(404, "VM not found" if briefly else f"VM {wanted[:100]} not found")
        own = sandbox_of(wanted)
        if own is None:
            raise unknown
        try:
            record = await self._services.sandboxes.get(who, own)
        except NotFound:
            raise unknown from None
        if record.state in TERMINAL or record.labels.get(DIALECT) != NAME:
            raise unknown
        return record

    async def running(self, who: Caller, wanted: str) -> SandboxRecord:
        """One that its client has not stopped, with all at hand that it needs. 409."""
        record = await self.find(who, wanted)
        _must_run(record, "")
        if record.id not in self._settled:
            async with self._turning.hold(record.id):
                await self._services.files.settle(who, record.id)
            self._settled.add(record.id)
        lost = await self.secrets.of(record)
        if lost and not self._services.keeper.vault.has(record):
            change = ChangeSandbox(secrets=lost)
            record = await self._services.sandboxes.update(who, record.id, change)
        return record

    async def all(self, who: Caller) -> Sequence[SandboxRecord]:
        """All living ones, the oldest first."""
        found: list[SandboxRecord] = []
        after: str | None = None
        while True:
            page = await self._services.sandboxes.list(who, labels=OWN, after=after, limit=_PAGE)
            found += page
            if len(page) < _PAGE:
                return found
            after = page[-1].id

    async def create(self, who: Caller, wish: Wish) -> SandboxRecord:
        """Make one; it runs. 429 over the quota."""
        image = await self._images.chosen(wish.image)
        async with self._counting:
            made = [each for each in await self.all(who) if each.state is not Stage.CREATING]
            if len(made) + self._on_their_way >= self._options.max_vms:
                raise SheeshError(429, f"VM quota exceeded (maxVms={self._options.max_vms})")
            self._on_their_way += 1
        try:
            record = await self._made(who, wish, image)
        finally:
            self._on_their_way -= 1
        meta = {"cpu": wish.limits.cpus, "memMb": wish.limits.memory_bytes // MIB}
        await self._note("vm.created", "VM created", record, meta)
        return record

    async def _made(self, who: Caller, wish: Wish, image: str | None) -> SandboxRecord:
        backend = await self._services.backends.choose(self._options.backend or None)
        able = await self._services.backends.can(backend.name, NETWORK)
        network = policy(wish, self._settings.network_modes if able else ())
        own = Notes(
            internet=network.mode == "internet",
            image=image,
            snapshot=wish.snapshot is not None,
            links=wish.links,
        )
        request = CreateSandbox(
            image=HOST if image is None else await self._images.reference(image),
            limits=wish.limits,
            network=network,
            env=ENV,
            labels=own.labels(),
            backend=backend.name,
            secrets=wish.secrets,
            base=None if wish.snapshot is None else wish.snapshot.id,
        )
        record = await self._services.sandboxes.create(request, who)
        self._settled.add(record.id)
        if wish.secrets:
            try:
                await self.secrets.keep(record.id, wish.secrets)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._services.sandboxes.destroy(who, record.id)
                raise
        return record

    async def start(self, who: Caller, wanted: str) -> None:
        """Start one that was stopped. 409."""
        record = await self.find(who, wanted)
        async with self._turning.hold(record.id):
            record = await self.find(who, wanted)
            if state_of(record) != STOPPED:
                raise _conflict("STOPPED to start", record)
            await self._services.sandboxes.start(who, record.id)
            await self._wish(who, record, stopped=False)
        await self._note("vm.started", "VM started", record)

    async def stop(self, who: Caller, wanted: str) -> None:
        """End its processes and keep its files. 409.

        The wish is written first: a server that is killed between finds a VM that is stopped.
        """
        record = await self.find(who, wanted)
        async with self._turning.hold(record.id):
            record = await self.find(who, wanted)
            _must_run(record, " to stop")
            await self._wish(who, record, stopped=True)
            await self._services.sandboxes.stop(who, record.id)
        await self._note("vm.stopped", "VM stopped", record)

    async def delete(self, who: Caller, wanted: str) -> None:
        """End one for ever."""
        record = await self.find(who, wanted)
        await self._services.sandboxes.destroy(who, record.id)
        self._settled.discard(record.id)
        await self.secrets.forget(record.id)
        await self._runs.forget(record.id)
        await self._note("vm.deleted", "VM deleted", record)

    async def public(self, who: Caller, record: SandboxRecord) -> dict[str, Any]:
        """What clients see of one."""
        _, addresses = await self._services.networks.get(who, record.id)
        said = notes(record.labels)
        shown: dict[str, Any] = {
            "id": vm_id(record.id),
            "state": state_of(record),
            "cpu": int(record.limits.cpus),
            "memMb": record.limits.memory_bytes // MIB,
            "guestIp": addresses[0] if addresses else _LOOPBACK,
            "outboundInternet": said.internet,
            "createdAt": moment(record.created_at),
            "provisionMode": "snapshot" if said.snapshot else "boot",
        }
        if said.image is not None:
            shown["imageId"] = said.image
        if said.links:
            shown["peerLinks"] = [each.shown() for each in said.links]
        return shown

    async def relabel(self, who: Caller, record: SandboxRecord, said: Notes) -> SandboxRecord:
        """Write other notes."""
        change = ChangeSandbox(labels=said.labels())
        return await self._services.sandboxes.update(who, record.id, change)

    async def _wish(self, who: Caller, record: SandboxRecord, *, stopped: bool) -> None:
        await self.relabel(who, record, replace(notes(record.labels), stopped=stopped))

    async def _note(
        self, kind: str, message: str, record: SandboxRecord, meta: dict[str, Any] | None = None
    ) -> None:
        own = vm_id(record.id)
        await self._activity.note(kind, f"{message}: {own}", entity=("vm", own), meta=meta)


def state_of(record: SandboxRecord) -> str:
    """The state in run-dat-sheesh's words. A VM that nobody has stopped runs when it is used."""
    if record.state is Stage.CREATING:
        return STARTING
    if not notes(record.labels).stopped:
        return RUNNING
    return STOPPED if record.state in {Stage.STOPPED, Stage.ARCHIVED} else STOPPING


def _must_run(record: SandboxRecord, why: str) -> None:
    if state_of(record) != RUNNING:
        raise _conflict(f"RUNNING{why}", record)


def _conflict(what: str, record: SandboxRecord) -> AtollError:
    return Conflict(f"VM must be {what} (state={state_of(record)})")
