from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from atoll.backends.fake import FakeBackend
from atoll.core.errors import BackendFault, Gone
from atoll.core.model import Channel, ExitReason, Limits, NetworkPolicy, SandboxSpec
from atoll.core.records import ProcessRecord, SandboxRecord
from atoll.core.states import State
from atoll.service.expiries import Expiries, due_at
from atoll.service.frames import read
from atoll.service.ids import new_id
from atoll.service.janitor import Upkeep
from atoll.service.requests import ChangeSandbox, CreateSandbox
from tests.service.island import (
    ALICE,
    KEEPING,
    Island,
    Script,
    SetClock,
    argv,
    eventually,
    island,
    until,
)
from tests.service.persistent import LOGS

pytestmark = pytest.mark.anyio


async def test_unused_ones_are_destroyed(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create(idle_timeout_s=10, auto_delete_s=30)
        kept = await world.create(auto_delete_s=30)
        paused = await world.create(auto_delete_s=30)
        used = await world.create(auto_delete_s=30)
        await world.sandboxes.update(ALICE, kept.id, ChangeSandbox(auto_delete_s=None))
        await world.sandboxes.pause(ALICE, paused.id)
        world.clock.at += 10
        await world.janitor.expire()
        assert await world.state(made.id) is State.STOPPED
        async with world.sandboxes.using(ALICE, used.id):
            world.clock.at += 20
            await world.janitor.expire()
            assert await world.state(made.id) is State.DESTROYED
            found = await world.sandboxes.post_mortem(ALICE, made.id)
            assert (found.ended_by, "30 s" in found.detail) == ("idle", True)
            world.clock.at += 20
            await world.janitor.expire()
            assert await world.state(used.id) is State.RUNNING, "a request uses it"
        world.clock.at += 30
        await world.janitor.expire()
        assert await world.state(used.id) is State.DESTROYED
        assert await world.state(kept.id) is State.RUNNING
        assert await world.state(paused.id) is State.PAUSED


async def test_idle_ones_are_stopped_and_leases_end(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        idle = await world.create(idle_timeout_s=10)
        leased = await world.create(lifetime_s=20)
        forever = await world.create()
        world.clock.at += 9
        await world.janitor.expire()
        assert await world.state(idle.id) is State.RUNNING
        async with world.sandboxes.using(ALICE, idle.id):
            pass
        world.clock.at += 9
        await world.janitor.expire()
        assert await world.state(idle.id) is State.RUNNING, "it was used nine seconds ago"
        world.clock.at += 1
        await world.janitor.expire()
        assert await world.state(idle.id) is State.STOPPED
        assert await world.state(leased.id) is State.RUNNING
        world.clock.at += 1
        await world.janitor.expire()
        assert await world.state(leased.id) is State.DESTROYED
        assert (await world.sandboxes.post_mortem(ALICE, leased.id)).ended_by == "lifetime"
        with pytest.raises(Gone, match="lifetime"):
            await world.sandboxes.open(ALICE, leased.id)
        assert await world.state(forever.id) is State.RUNNING
        await world.check()
        await world.audit.flush()
        events = [e for e in await world.store.list_events() if e.actor in {"keeper", "janitor"}]
        assert [(e.action, e.detail["by"]) for e in events] == [
            ("sandbox.stopped", "idle"),
            ("sandbox.destroyed", "lifetime"),
        ]


async def test_a_request_under_way_is_use(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create(idle_timeout_s=10)
        async with world.sandboxes.using(ALICE, made.id):
            world.clock.at += 1000
            await world.janitor.expire()
            assert await world.state(made.id) is State.RUNNING
        world.clock.at += 10
        await world.janitor.expire()
        assert await world.state(made.id) is State.STOPPED


async def test_a_background_process_is_not_use(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create(idle_timeout_s=10)
        Script(world.backend, "serve")
        await world.processes.start(ALICE, made.id, argv("serve"))
        world.clock.at += 10
        await world.janitor.expire()
        assert await world.state(made.id) is State.STOPPED


async def test_an_idle_timeout_counts_again_after_a_start(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create(idle_timeout_s=10)
        for _ in range(3):
            world.clock.at += 10
            await world.janitor.expire()
            assert await world.state(made.id) is State.STOPPED
            await world.sandboxes.start(ALICE, made.id)
            world.clock.at += 5
            await world.janitor.expire()
            assert await world.state(made.id) is State.RUNNING


async def test_a_changed_lease_is_what_counts(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create(lifetime_s=10)
        await world.sandboxes.update(ALICE, made.id, ChangeSandbox(lifetime_s=30))
        world.clock.at += 29
        await world.janitor.expire()
        assert await world.state(made.id) is State.RUNNING
        await world.sandboxes.update(ALICE, made.id, ChangeSandbox(lifetime_s=0.5))
        world.clock.at += 1
        await world.janitor.expire()
        assert await world.state(made.id) is State.DESTROYED


async def test_the_loop_wakes_for_what_is_due(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create(lifetime_s=10)
        world.clock.at += 11
        world.keeper.expiries.changed.set()
        await eventually(lambda: _is(world, made.id, State.DESTROYED))


async def _is(world: Island, sandbox_id: str, state: State) -> bool:
    return await world.state(sandbox_id) is state


async def test_after_a_restart_all_are_stopped_and_outputs_complete(tmp_path: Path) -> None:
    backend = FakeBackend()
    async with island(tmp_path, backend) as world:
        made = await world.create("n", idle_timeout_s=5)
        await world.files.write(ALICE, "n", "f", b"kept")
        lease = await world.create(lifetime_s=10)
        await world.sandboxes.stop(ALICE, made.id)
        # As if the server had been killed with a process running.
        record = await world.sandboxes.get(ALICE, made.id)
        await world.store.save_sandbox(replace(record, state=State.RUNNING))
        await world.store.add_process(
            ProcessRecord(made.id, 7, ("serve",), "/", False, True, world.clock.at)
        )
        log = world.logs.begin(made.id, 7)
        await log.append(Channel.STDOUT, b"said")
        await log.flush()
    clock = SetClock(at=1_000_011.0)
    async with island(tmp_path, backend, clock) as world:
        assert await world.state(made.id) is State.STOPPED
        process = await world.processes.get(ALICE, "n", 7)
        assert process.exit is not None
        assert (process.exit.code, process.exit.reason) == (None, ExitReason.UNKNOWN)
        chunks = [c async for c in world.processes.output(ALICE, "n", 7, position=1)]
        assert b"".join(c.data for c in chunks) == b"aid"
        assert [d async for d in world.files.read(ALICE, "n", "f")] == [b"kept"]
        on_disk = partial(read, tmp_path / LOGS / made.id, 7, position=0, channel=None, budget=1)
        assert (await to_thread.run_sync(on_disk)).chunks[0].data == b"said"
        at_the_end = partial(read, tmp_path / LOGS / made.id, 7, position=4, channel=None, budget=1)
        assert (await to_thread.run_sync(at_the_end)).finished
        assert (await world.processes.start(ALICE, "n", argv("true"))).number == 8
        await world.janitor.expire()
        assert await world.state(lease.id) is State.DESTROYED
        await world.audit.flush()
        assert ("sandbox.stopped", "restart") in [
            (e.action, e.detail.get("by")) for e in await world.store.list_events(limit=100)
        ]
        await world.check()


async def test_what_nobody_knows_is_removed_at_the_start(tmp_path: Path) -> None:
    backend = FakeBackend()
    for name in ("ex_left", "sb_left"):
        async with backend.open(SandboxSpec(name, persistent=True)):
            pass
    await backend.snapshot("sb_left", "fork_left")
    await to_thread.run_sync(lambda: (tmp_path / LOGS / "sb_left").mkdir(parents=True))
    async with island(tmp_path, backend) as world:
        assert await backend.owned() == []
        assert await backend.snapshots() == []
        assert await world.logs.owned() == []


async def test_later_there_is_a_grace(tmp_path: Path) -> None:
    backend = FakeBackend()
    pool = {"ex_pool"}
    async with island(tmp_path, backend, held_elsewhere=lambda: pool) as world:
        made = await world.create()
        for name in ("ex_pool", "ex_lost"):
            async with backend.open(SandboxSpec(name, persistent=True)):
                pass
        await backend.snapshot("ex_lost", "fork_lost")
        await world.janitor.reconcile()
        world.clock.at += 119
        await world.janitor.reconcile()
        assert len(await backend.owned()) == 3
        world.clock.at += 1
        await world.janitor.reconcile()
        assert set(await backend.owned()) == {"ex_pool", made.id}
        assert await backend.snapshots() == []
        pool.clear()
        await world.janitor.reconcile()
        world.clock.at += 120
        await world.janitor.reconcile()
        assert await backend.owned() == [made.id]


async def test_lost_files_are_said(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("n")
        await world.sandboxes.stop(ALICE, "n")
        other = await world.create()
        await world.backend.destroy(made.id)
        await world.janitor.reconcile()
        assert await world.state(made.id) is State.LOST
        assert await world.state(other.id) is State.RUNNING
        note = await world.sandboxes.post_mortem(ALICE, made.id)
        assert (note.ended_by, "gone" in note.detail) == ("crash", True)
        await world.create("n")
        await world.check()


async def test_a_backend_that_does_not_answer_loses_nothing(
    tmp_path: Path, logged: list[dict[str, object]]
) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        await world.sandboxes.stop(ALICE, made.id)
        world.backend.faults.fail("owned", RuntimeError("odd"))
        await world.janitor.reconcile()
        assert await world.state(made.id) is State.STOPPED
        assert any(entry.get("what") == "owned" for entry in logged)
        await world.check()


async def test_an_unusable_backend_loses_nothing(tmp_path: Path) -> None:
    backend = FakeBackend()
    async with island(tmp_path, backend) as world:
        made = await world.create()
    absent = FakeBackend(why_not="its kernel module is missing")
    async with island(tmp_path, absent) as world:
        assert await world.state(made.id) is State.STOPPED
    async with island(tmp_path, backend) as world:
        await world.sandboxes.start(ALICE, made.id)
        await world.check()


async def test_one_broken_sandbox_does_not_stop_the_others(
    tmp_path: Path, logged: list[dict[str, object]]
) -> None:
    async with island(tmp_path) as world:
        made = [await world.create(lifetime_s=5) for _ in range(3)]
        world.backend.faults.fail("destroy", RuntimeError("odd"))
        world.clock.at += 5
        await world.janitor.expire()
        assert [await world.state(r.id) for r in made] == [State.DESTROYED] * 3
        [left] = await world.backend.owned()
        assert any(entry.get("sandbox_id") == left for entry in logged)
        world.backend.faults.fail("destroy", BackendFault("not now"))
        for _ in range(3):
            await world.janitor.reconcile()
            world.clock.at += 120
        await world.check()


async def test_a_creation_that_was_left_fails(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("n")
        await world.sandboxes.stop(ALICE, made.id)
        left = replace(made, id=new_id("sb"), name="m", state=State.CREATING, version=1)
        await world.store.add_sandbox(left)
        await world.janitor.reconcile()
        assert await world.state(left.id) is State.CREATING
        world.clock.at += 120
        await world.janitor.reconcile()
        assert await world.state(left.id) is State.FAILED
        await world.check()


async def test_old_records_are_forgotten(tmp_path: Path) -> None:
    keeping = replace(KEEPING, upkeep=Upkeep(interval_s=3600, keep_ended_s=100, keep_claims_s=50))
    async with island(tmp_path, keeping=keeping) as world:
        made = await world.sandboxes.create(CreateSandbox(), ALICE, "key")
        await world.sandboxes.destroy(ALICE, made.id)
        world.clock.at += 60
        await world.janitor.tidy()
        assert await world.state(made.id) is State.DESTROYED
        again = await world.sandboxes.create(CreateSandbox(), ALICE, "key")
        assert again.id != made.id
        world.clock.at += 60
        await world.janitor.tidy()
        assert [r.id for r in await world.stored()] == [again.id]


async def test_touches_are_batched(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        world.keeper.touches._interval_s = 0.0
        world.clock.at += 3
        for _ in range(100):
            async with world.sandboxes.using(ALICE, made.id):
                pass
        assert (await world.sandboxes.get(ALICE, made.id)).last_used_at == world.clock.at

        await world.keeper.touches.flush()
        stored = await world.store.get_sandbox("alice", made.id)
        assert stored is not None
        assert stored.last_used_at == world.clock.at
        assert stored.version == made.version


async def test_a_stop_writes_the_last_use(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        world.clock.at += 1
        async with world.sandboxes.using(ALICE, made.id):
            pass
        await world.sandboxes.stop(ALICE, made.id)
        stored = await world.store.get_sandbox("alice", made.id)
        assert stored is not None
        assert stored.last_used_at == world.clock.at


def test_expiries_are_ordered_and_lazy() -> None:
    base = SandboxRecord(
        id="sb",
        tenant="alice",
        name=None,
        backend="fake",
        image="host",
        profile="moderate",
        limits=Limits(),
        network=NetworkPolicy(),
        state=State.RUNNING,
        created_at=0.0,
        last_used_at=0.0,
    )
    expiries = Expiries()
    for n, lease in enumerate((30.0, 10.0, 20.0)):
        expiries.track(replace(base, id=f"sb{n}", expires_at=lease))
    assert expiries.changed.is_set()
    assert expiries.next_at() == 10.0
    expiries.track(replace(base, id="sb1", expires_at=40.0))
    assert expiries.next_at() == 20.0
    expiries.forget("sb2")
    assert expiries.pop(100.0) == [("alice", "sb0"), ("alice", "sb1")]
    assert expiries.next_at() is None
    for n in range(1000):
        expiries.track(replace(base, id="sb", expires_at=float(n)))
    assert len(expiries._heap) < 100
    assert expiries.pop(2000.0) == [("alice", "sb")]
    assert due_at(replace(base, expires_at=5.0, state=State.DESTROYED)) is None
    assert due_at(replace(base, idle_timeout_s=5.0, state=State.STOPPED)) is None
    assert due_at(replace(base, idle_timeout_s=5.0), 7.0) == 12.0


async def test_many_expire_together(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = [await world.create(idle_timeout_s=1) for _ in range(30)]
        world.clock.at += 2
        with anyio.fail_after(5):
            await world.janitor.expire()
        await until(lambda: not world.keeper.open_ids())
        assert {r.state for r in await world.stored()} == {State.STOPPED}
        assert len(made) == 30
