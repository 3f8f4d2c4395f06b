"""`kill -9` at every moment: the disk is photographed there, and a new server starts from it."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.backends.fake import FakeBackend
from atoll.core.states import TERMINAL, State
from atoll.service.requests import CreateSandbox
from tests.service.island import ALICE, Island, Watched, argv, island, photograph

pytestmark = [pytest.mark.anyio, pytest.mark.blocking("photographs the disk between two steps")]

CREATE = CreateSandbox(name="n")


class Acknowledged:
    """What the server has promised so far."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.created: str | None = None
        self.destroyed: set[str] = set()
        self.processes: list[int] = []
        self.output: bytes = b""
        self.exits: dict[int, int | None] = {}


async def scenario(world: Island, told: Acknowledged) -> None:
    """A life with everything in it."""
    made = await world.sandboxes.create(CREATE, ALICE, "key")
    told.created = made.id
    await world.files.write(ALICE, made.id, "f", b"acknowledged")
    told.files[made.id] = b"acknowledged"
    started = await world.processes.start(ALICE, made.id, argv("echo", "said"))
    told.processes.append(started.number)
    ended = await world.processes.wait(ALICE, made.id, started.number, 5)
    assert ended is not None
    told.exits[started.number] = ended.code
    told.output = b"said\n"
    async for _ in world.processes.stream(ALICE, made.id, argv("echo", "x")):
        pass
    fork = await world.sandboxes.fork(ALICE, made.id, name="fork")
    told.files[fork.id] = b"acknowledged"
    await world.snapshots.take(ALICE, fork.id, name="snap")
    await world.sandboxes.start(ALICE, fork.id)
    await world.sandboxes.stop(ALICE, fork.id)
    await world.sandboxes.destroy(ALICE, fork.id)
    told.destroyed.add(fork.id)
    del told.files[fork.id]


async def verify(world: Island, told: Acknowledged) -> None:
    """What must hold after the next start."""
    await world.check()
    records = {record.id: record for record in await world.stored()}
    for record in records.values():
        assert record.state in TERMINAL | {State.STOPPED}, record
    assert await world.store.unfinished_processes() == []
    for sandbox_id in told.destroyed:
        assert records[sandbox_id].state is State.DESTROYED
    for sandbox_id, content in told.files.items():
        if records[sandbox_id].state is State.DESTROYED:
            continue  # its destruction had begun
        data = b"".join([d async for d in world.files.read(ALICE, sandbox_id, "f")])
        assert data == content
    if told.created is not None:
        for number in told.processes:
            process = await world.processes.get(ALICE, told.created, number)
            assert process.exit is not None
            if number in told.exits:
                assert process.exit.code == told.exits[number]
                output = world.processes.output(ALICE, told.created, number)
                assert b"".join([c.data async for c in output]) == told.output
    assert len(await world.backend.snapshots()) == len(await world.snapshots.list(ALICE))
    assert set(await world.logs.owned()) <= set(records)
    again = await world.sandboxes.create(CREATE, ALICE, "key")
    assert told.created in {None, again.id}
    await world.sandboxes.start(ALICE, "n")
    number = (await world.processes.start(ALICE, "n", argv("true"))).number
    assert number > max(told.processes, default=0)
    assert await world.processes.wait(ALICE, "n", number, 5) is not None
    await world.check()


async def run(data_dir: Path, tell: Callable[[Island, str], None]) -> Acknowledged:
    backend = FakeBackend()
    told = Acknowledged()
    worlds: list[Island] = []

    def heard(moment: str) -> None:
        if worlds:
            tell(worlds[0], moment)

    passed = backend.faults.at

    async def at(step: str, kill: Callable[[str], None] | None = None) -> None:
        heard(f"at {step}")
        await passed(step, kill)

    backend.faults.at = at  # type: ignore[method-assign]
    async with island(
        data_dir,
        backend,
        through=lambda store: Watched(store, heard),
    ) as world:
        worlds.append(world)
        world.told = told  # type: ignore[attr-defined]
        await scenario(world, told)
        worlds.clear()
    return told


@pytest.mark.timeout(120)
@pytest.mark.slow
async def test_a_kill_at_every_moment(tmp_path: Path) -> None:
    photographs: list[tuple[str, Path, FakeBackend, Acknowledged]] = []
    data_dir = tmp_path / "data"
    data_dir.mkdir()

    def tell(world: Island, moment: str) -> None:
        to = tmp_path / str(len(photographs))
        left = photograph(data_dir, world.backend, to)
        told = copy.deepcopy(world.told)  # type: ignore[attr-defined]
        photographs.append((moment, to, left, told))

    await run(data_dir, tell)
    assert len(photographs) > 60
    for moment, at, left, told in photographs:
        try:
            async with island(at, left) as world:
                await verify(world, told)
        except BaseException as error:
            error.add_note(f"killed {moment}, photograph {at.name}")
            raise
