"""The rare powers: snapshots, archives, pausing, watching."""

import contextlib
from collections.abc import Awaitable, Callable

import anyio
import pytest

from atoll.core.errors import BackendFault, Conflict, NotFound
from atoll.core.model import MIB, Change, ExitReason, SandboxSpec
from atoll.core.ports import Archives, Backend, Pausable, Sandbox, Snapshots, Watches
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import (
    finish,
    first,
    fresh,
    fresh_id,
    names,
    program,
    read,
    run,
    script,
)


def _snapshots(backend: Backend) -> Snapshots:
    assert isinstance(backend, Snapshots), "It promised snapshots."
    return backend


class SnapshotCases(Cases):
    """`core.ports.Snapshots`."""

    async def _made(self, backend: Backend) -> SandboxSpec:
        spec = fresh(persistent=True)
        async with backend.open(spec) as box:
            await box.files.write("kept", b"1", mode=0o640)
            await box.files.write("d/big", b"x" * MIB)
            await run(box, program("ln", "-s", "kept", "link"))
        return spec

    @needs("snapshots")
    async def test_restore(self, backend: Backend) -> None:
        spec, snapshot = await self._made(backend), fresh_id()
        power = _snapshots(backend)
        await power.snapshot(spec.id, snapshot)
        assert snapshot in await power.snapshots()
        assert await power.snapshot_size(snapshot) >= MIB
        for _ in range(3):
            async with backend.open(fresh(base=snapshot)) as box:
                assert await read(box.files, "kept") == b"1"
                assert (await box.files.stat("kept")).mode == 0o640
                assert (await box.files.stat("link")).target == "kept"
                assert (await run(box, program("cat", "link"))).stdout == b"1"
        await power.drop_snapshot(snapshot)
        assert snapshot not in await power.snapshots()
        await backend.destroy(spec.id)

    @needs("snapshots")
    async def test_copies_are_apart(self, backend: Backend) -> None:
        spec, snapshot = await self._made(backend), fresh_id()
        power = _snapshots(backend)
        await power.snapshot(spec.id, snapshot)
        left, right = fresh(base=snapshot, persistent=True), fresh(base=snapshot)
        async with backend.open(left) as one, backend.open(right) as two:
            await one.files.write("kept", b"left")
            await run(one, program("rm", "-r", "d"))
            await two.files.write("new", b"right")
            assert sorted(await names(one.files, "/workspace")) == ["kept", "link"]
            assert await read(two.files, "kept") == b"1"
            assert len(await read(two.files, "d/big")) == MIB
        async with backend.open(spec) as original:
            assert await names(original.files, "/workspace") == ["d", "kept", "link"]
            assert await read(original.files, "kept") == b"1"
            await original.files.write("kept", b"later")
        async with backend.open(fresh(base=snapshot)) as again:
            assert await read(again.files, "kept") == b"1"
        async with backend.open(left) as one:
            assert await read(one.files, "kept") == b"left"
            assert sorted(await names(one.files, "/workspace")) == ["kept", "link"]
        await power.drop_snapshot(snapshot)
        await backend.destroy(spec.id)
        await backend.destroy(left.id)

    @needs("snapshots")
    async def test_a_snapshot_outlives_its_sandbox(self, backend: Backend) -> None:
        spec, snapshot = await self._made(backend), fresh_id()
        power = _snapshots(backend)
        await power.snapshot(spec.id, snapshot)
        await backend.destroy(spec.id)
        async with backend.open(fresh(base=snapshot)) as box:
            assert await read(box.files, "kept") == b"1"
        await power.drop_snapshot(snapshot)

    @needs("snapshots")
    async def test_a_copy_outlives_its_snapshot(self, backend: Backend) -> None:
        spec, snapshot = await self._made(backend), fresh_id()
        power = _snapshots(backend)
        await power.snapshot(spec.id, snapshot)
        copy = fresh(base=snapshot, persistent=True)
        async with backend.open(copy) as box:
            await power.drop_snapshot(snapshot)
            assert await read(box.files, "kept") == b"1"
        await backend.destroy(spec.id)
        async with backend.open(copy) as box:
            assert await read(box.files, "kept") == b"1"
            assert len(await read(box.files, "d/big")) == MIB
        await backend.destroy(copy.id)
        with pytest.raises(NotFound):
            async with backend.open(fresh(base=snapshot)):
                pytest.fail("It was dropped.")

    @needs("snapshots")
    async def test_snapshots_of_copies(self, backend: Backend) -> None:
        spec = await self._made(backend)
        power = _snapshots(backend)
        line = [spec.id]
        for number in range(4):
            snapshot = fresh_id()
            await power.snapshot(line[-1], snapshot)
            copy = fresh(base=snapshot, persistent=True)
            async with backend.open(copy) as box:
                await box.files.write(f"step{number}", b"")
            await power.drop_snapshot(snapshot)
            line.append(copy.id)
        async with backend.open(SandboxSpec(line[-1], persistent=True)) as box:
            steps = await names(box.files, "/workspace")
            assert steps == ["d", "kept", "link", "step0", "step1", "step2", "step3"]
        for sandbox_id in line:
            await backend.destroy(sandbox_id)

    @needs("snapshots")
    async def test_what_cannot_be_frozen(self, backend: Backend) -> None:
        spec, snapshot = await self._made(backend), fresh_id()
        power = _snapshots(backend)
        with pytest.raises(NotFound):
            await power.snapshot(fresh_id(), snapshot)
        async with backend.open(spec):
            with pytest.raises(Conflict):
                await power.snapshot(spec.id, snapshot)
        assert snapshot not in await power.snapshots()
        await power.snapshot(spec.id, snapshot)
        with pytest.raises(Conflict):
            await power.snapshot(spec.id, snapshot)
        await backend.destroy(spec.id)
        await power.drop_snapshot(snapshot)

    @needs("snapshots")
    async def test_dropping_is_idempotent(self, backend: Backend) -> None:
        power = _snapshots(backend)
        await power.drop_snapshot("sn_never_was_there")
        with pytest.raises(NotFound):
            await power.snapshot_size("sn_never_was_there")


class PackCases(Cases):
    """`core.ports.Archives`."""

    async def _away(self, backend: Backend, spec: SandboxSpec) -> Archives:
        assert isinstance(backend, Archives), "It promised to archive."
        await backend.put_away(spec.id, await backend.pack(spec.id))
        return backend

    @needs("archive")
    async def test_files_come_back_as_they_were(self, backend: Backend) -> None:
        spec = fresh(persistent=True)
        async with backend.open(spec) as box:
            await box.files.write("kept", b"1", mode=0o640)
            await box.files.write("d/big", b"x" * MIB)
            await box.files.write("d/sp ace\n\udcff", b"2")
            await box.files.write("/tmp/t", b"3")
            await run(box, program("ln", "-s", "/nowhere/at/all", "link"))
        power = await self._away(backend, spec)
        assert spec.id in await backend.owned()
        with pytest.raises(Conflict):
            async with backend.open(spec):
                pytest.fail("It was opened.")
        for _ in range(2):
            await power.restore(spec.id)
        async with backend.open(spec) as box:
            assert await read(box.files, "kept") == b"1"
            assert (await box.files.stat("kept")).mode == 0o640
            assert len(await read(box.files, "d/big")) == MIB
            assert await read(box.files, "d/sp ace\n\udcff") == b"2"
            assert await read(box.files, "/tmp/t") == b"3"
            assert (await box.files.stat("link")).target == "/nowhere/at/all"
            await box.files.write("kept", b"more")
            assert (await run(box, program("cat", "kept"))).stdout == b"more"
        await self._away(backend, spec)
        await backend.destroy(spec.id)
        assert spec.id not in await backend.owned()

    @needs("archive", "snapshots")
    async def test_what_was_removed_stays_so(self, backend: Backend) -> None:
        spec, snapshot = fresh(persistent=True), fresh_id()
        async with backend.open(spec) as box:
            await box.files.write("gone", b"1")
            await box.files.write("d/old", b"1")
        await _snapshots(backend).snapshot(spec.id, snapshot)
        async with backend.open(spec) as box:
            await box.files.remove("gone")
            await box.files.remove("d", recursive=True)
            await box.files.write("d/new", b"2")
        power = await self._away(backend, spec)
        with pytest.raises(Conflict):
            await _snapshots(backend).snapshot(spec.id, fresh_id())
        async with backend.open(fresh(base=snapshot)) as box:
            assert await read(box.files, "d/old") == b"1"
        await power.restore(spec.id)
        async with backend.open(spec) as box:
            assert await names(box.files, "/workspace") == ["d"]
            assert await names(box.files, "/workspace/d") == ["new"]
        await backend.destroy(spec.id)
        await _snapshots(backend).drop_snapshot(snapshot)

    @needs("archive")
    async def test_what_cannot_be_packed(self, backend: Backend) -> None:
        assert isinstance(backend, Archives), "It promised to archive."
        with pytest.raises(NotFound):
            await backend.pack(fresh_id())
        spec = fresh(persistent=True)
        async with backend.open(spec):
            with pytest.raises(Conflict):
                await backend.pack(spec.id)
        pack = await backend.pack(spec.id)
        async with backend.open(spec) as box:
            with pytest.raises(Conflict):
                await backend.put_away(spec.id, pack)
            await box.files.write("late", b"1")
        for _ in range(2):
            await backend.drop_pack(pack)
        with pytest.raises(Conflict):
            await backend.put_away(spec.id, pack)
        async with backend.open(spec) as box:
            assert await read(box.files, "late") == b"1"
        await backend.destroy(spec.id)


class PauseCases(Cases):
    """`core.ports.Pausable`."""

    @needs("pause")
    async def test_a_paused_sandbox_stands_still(self, backend: Backend) -> None:
        async with backend.open(fresh()) as box:
            assert isinstance(box, Pausable), "It promised to pause."
            process = await box.start(script("echo ready; sleep 0.2; echo on > /workspace/on"))
            assert await first(process) == b"ready\n"
            await box.pause()
            await anyio.sleep(0.5)
            with anyio.move_on_after(0.1) as scope:
                await process.wait()
            assert scope.cancelled_caught
            await box.resume()
            assert (await finish(process)).exit.code == 0
            assert await read(box.files, "on") == b"on\n"

    @needs("pause")
    async def test_pausing_twice_is_nothing(self, backend: Backend) -> None:
        async with backend.open(fresh()) as box:
            assert isinstance(box, Pausable), "It promised to pause."
            for _ in range(2):
                await box.pause()
            for _ in range(2):
                await box.resume()
            assert (await run(box, program("echo", "fine"))).stdout == b"fine\n"

    @needs("pause")
    async def test_no_time_passes_while_it_is_paused(self, backend: Backend) -> None:
        async with backend.open(fresh()) as box:
            assert isinstance(box, Pausable), "It promised to pause."
            process = await box.start(script("echo ready; sleep 0.5; echo on", wall_s=1.5))
            assert await first(process) == b"ready\n"
            await box.pause()
            await anyio.sleep(2.0)  # waits on purpose: longer than its wall time
            await box.resume()
            assert (await finish(process)).exit.reason is ExitReason.EXITED

    @needs("pause")
    async def test_nothing_is_started_while_it_is_paused(self, backend: Backend) -> None:
        async with backend.open(fresh()) as box:
            assert isinstance(box, Pausable), "It promised to pause."
            await box.pause()
            with pytest.raises(Conflict):
                await box.start(program("true"))
            await box.resume()
            assert (await run(box, program("true"))).exit.code == 0

    @needs("pause", "shell")
    async def test_what_forks_all_the_time_stands_still(self, backend: Backend) -> None:
        async with backend.open(fresh()) as box:
            assert isinstance(box, Pausable), "It promised to pause."
            lines = "for i in 1 2 3 4; do (while true; do true | cat; done) & done"
            tick = "(i=0; while true; do i=$((i+1)); echo $i > /workspace/n.new;"
            tick += " mv /workspace/n.new /workspace/n; done) & echo ready; wait"
            process = await box.start(script(f"{lines}; {tick}"))
            assert await first(process) == b"ready\n"
            await box.pause()
            before = await read(box.files, "n")
            await anyio.sleep(0.3)  # waits on purpose: to see that nothing happens
            assert await read(box.files, "n") == before
            await box.resume()
            with anyio.fail_after(10):
                while await read(box.files, "n") == before:
                    await anyio.sleep(0.01)

    @needs("pause")
    async def test_a_paused_sandbox_can_be_destroyed(self, backend: Backend) -> None:
        spec = fresh()
        with anyio.fail_after(20):
            with contextlib.suppress(BackendFault):
                async with backend.open(spec) as box:
                    assert isinstance(box, Pausable), "It promised to pause."
                    process = await box.start(program("sleep", "20"))
                    await box.pause()
                    await backend.destroy(spec.id)
                    assert (await process.wait()).reason is not ExitReason.EXITED
        assert spec.id not in await backend.owned()

    @needs("pause")
    async def test_a_paused_sandbox_can_be_closed(self, backend: Backend) -> None:
        spec = fresh()
        with anyio.fail_after(10):
            async with backend.open(spec) as box:
                assert isinstance(box, Pausable), "It promised to pause."
                await box.start(program("sleep", "20"))
                await box.pause()
        assert spec.id not in await backend.owned()


class WatchCases(Cases):
    """`core.ports.Watches`."""

    async def _until(
        self, box: Sandbox, place: str, act: Callable[[], Awaitable[None]], wanted: set[str]
    ) -> list[Change]:
        assert isinstance(box, Watches), "It promised to watch."
        heard: list[Change] = []
        changes = box.watch(place)

        async def repeat() -> None:
            # What happens before the watch is set up is not told: act again until it is.
            while True:
                await act()
                await anyio.sleep(0.05)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(repeat)
                async for change in changes:
                    heard.append(change)
                    if wanted <= {each.path for each in heard} | {each.kind for each in heard}:
                        break
                tasks.cancel_scope.cancel()
        return heard

    @needs("watch")
    async def test_changes_are_told(self, box: Sandbox, place: str) -> None:
        async def act() -> None:
            await box.files.write(f"{place}/host", b"x")
            await run(box, script(f"echo x > {place}/guest"))
            await box.files.write(f"{place}/below/deeper", b"x")

        heard = await self._until(box, place, act, {f"{place}/host", f"{place}/guest"})
        assert f"{place}/below/deeper" not in {change.path for change in heard}

    @needs("watch")
    async def test_a_removal_is_told(self, box: Sandbox, place: str) -> None:
        async def act() -> None:
            await box.files.write(f"{place}/file", b"x")
            await box.files.remove(f"{place}/file")

        heard = await self._until(box, place, act, {"removed"})
        assert f"{place}/file" in {change.path for change in heard if change.kind == "removed"}

    @needs("watch")
    async def test_only_a_directory_is_watched(self, box: Sandbox, place: str) -> None:
        assert isinstance(box, Watches), "It promised to watch."
        with pytest.raises(NotFound), anyio.fail_after(5):
            await anext(aiter(box.watch(f"{place}/missing")))
