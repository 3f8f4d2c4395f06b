"""The life of a sandbox: nothing survives its block, whatever ends it."""

from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.lowlevel import checkpoint

from atoll.core.errors import AtollError, Conflict, NotFound
from atoll.core.model import Exit, SandboxSpec
from atoll.core.ports import Backend, Ended
from atoll.testing.backend.cases import Cases
from atoll.testing.backend.running import first, fresh, names, program, read, run, script

CHECKPOINTS = 40
MOMENTS = 24


class LifetimeCases(Cases):
    """`Backend.open`, `owned` and `destroy`."""

    async def test_probe_is_data_and_cheap(self, backend: Backend) -> None:
        report = await backend.probe()
        started = anyio.current_time()
        again = await backend.probe()
        assert anyio.current_time() - started < 0.1
        assert report == again
        assert report.name == backend.name
        assert report.usable, report.why

    async def test_the_id_is_the_one_asked_for(self, backend: Backend) -> None:
        spec = fresh()
        async with backend.open(spec) as box:
            assert box.id == spec.id
            assert spec.id in await backend.owned()

    async def test_a_new_sandbox_is_empty(self, backend: Backend) -> None:
        async with backend.open(fresh()) as box:
            assert await names(box.files, "/workspace") == []

    async def test_nothing_survives_the_block(self, backend: Backend) -> None:
        before = set(await backend.owned())
        spec = fresh()
        async with backend.open(spec) as box:
            await box.files.write("note", b"x")
            await box.start(program("sleep", "20"))
        assert set(await backend.owned()) == before
        async with backend.open(spec) as box:
            assert await names(box.files, "/workspace") == []

    async def test_an_error_in_the_block_leaves_it_as_it_is(self, backend: Backend) -> None:
        before = set(await backend.owned())
        error = ValueError("of the caller")
        with pytest.raises(ValueError, match="of the caller") as raised:
            async with backend.open(fresh()) as box:
                await box.start(program("sleep", "20"))
                raise error
        assert raised.value is error
        assert set(await backend.owned()) == before

    async def test_cancellation_in_the_block(self, backend: Backend) -> None:
        before = set(await backend.owned())
        with anyio.move_on_after(0.3) as scope:
            async with backend.open(fresh()) as box:
                await (await box.start(program("sleep", "20"))).wait()
        assert scope.cancelled_caught
        assert set(await backend.owned()) == before

    async def test_cancellation_at_each_checkpoint_of_open(self, backend: Backend) -> None:
        before = set(await backend.owned())
        for count in range(CHECKPOINTS):
            await self._cancelled_open(backend, _after_checkpoints(count))
            assert set(await backend.owned()) == before, f"cancelled after {count} checkpoints"

    async def test_cancellation_at_many_moments_of_open(self, backend: Backend) -> None:
        before = set(await backend.owned())
        started = anyio.current_time()
        async with backend.open(fresh()):
            took = anyio.current_time() - started
        for moment in range(MOMENTS):
            await self._cancelled_open(backend, _after_seconds(1.2 * took * moment / MOMENTS))
            assert set(await backend.owned()) == before, f"cancelled at {moment}/{MOMENTS}"

    async def _cancelled_open(
        self, backend: Backend, moment: Callable[[], Awaitable[None]]
    ) -> None:
        spec = fresh()

        async def cancel(scope: anyio.CancelScope) -> None:
            await moment()
            scope.cancel()

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel, tasks.cancel_scope)
                async with backend.open(spec):
                    await anyio.sleep_forever()
            async with backend.open(spec):
                pass

    async def test_cancellation_of_start(self, backend: Backend) -> None:
        async with backend.open(fresh()) as box:
            for count in range(0, CHECKPOINTS, 2):

                async def cancel(scope: anyio.CancelScope, count: int = count) -> None:
                    await _after_checkpoints(count)()
                    scope.cancel()

                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(cancel, tasks.cancel_scope)
                    await box.start(program("sleep", "20"))
                    await anyio.sleep_forever()
            assert (await run(box, program("echo", "fine"))).stdout == b"fine\n"

    async def test_an_open_id_is_a_conflict(self, backend: Backend) -> None:
        spec = fresh()
        async with backend.open(spec) as box:
            with pytest.raises(Conflict):
                async with backend.open(spec):
                    pytest.fail("It was opened twice.")
            assert (await run(box, program("echo", "fine"))).stdout == b"fine\n"
        async with backend.open(spec):
            pass

    @pytest.mark.parametrize("field", ["image", "base"])
    async def test_what_is_unknown_is_not_found(self, backend: Backend, field: str) -> None:
        before = set(await backend.owned())
        with pytest.raises(NotFound):
            async with backend.open(fresh(**{field: "no-such-thing"})):
                pytest.fail("It was opened.")
        assert set(await backend.owned()) == before

    async def test_programs_die_with_the_block(self, backend: Backend) -> None:
        spec = fresh(persistent=True)
        async with backend.open(spec) as box:
            late = await box.start(script("echo ready; sleep 0.4 && echo alive > alive"))
            assert await first(late) == b"ready\n"
        await anyio.sleep(0.6)
        async with backend.open(spec) as box:
            assert await names(box.files, "/workspace") == []
        await backend.destroy(spec.id)

    async def test_nobody_waits_for_ever_after_the_block(self, backend: Backend) -> None:
        async with backend.open(fresh()) as box:
            process = await box.start(program("sleep", "20"))
        with anyio.fail_after(5):
            ended = await process.wait()
            assert isinstance(ended, Exit)
            assert ended.code is None
            assert [item async for item in process.output()] == []
        with pytest.raises(AtollError):
            await box.start(program("true"))
        with pytest.raises(AtollError):
            await box.files.stat("/workspace")

    async def test_a_persistent_sandbox_keeps_its_files(self, backend: Backend) -> None:
        spec = fresh(persistent=True)
        async with backend.open(spec) as box:
            await box.files.write("kept", b"1", mode=0o750)
            await run(box, script("mkdir -p d; echo 2 > d/guest; ln -s kept link"))
        assert spec.id in await backend.owned()
        for _ in range(2):
            async with backend.open(spec) as box:
                assert await read(box.files, "kept") == b"1"
                assert await read(box.files, "d/guest") == b"2\n"
                assert (await box.files.stat("kept")).mode == 0o750
                assert (await box.files.stat("link")).target == "kept"
        await backend.destroy(spec.id)
        assert spec.id not in await backend.owned()
        async with backend.open(SandboxSpec(spec.id)) as box:
            assert await names(box.files, "/workspace") == []

    async def test_a_persistent_sandbox_survives_a_cancelled_opening(
        self, backend: Backend
    ) -> None:
        spec = fresh(persistent=True)
        async with backend.open(spec) as box:
            await box.files.write("kept", b"1")
        for count in range(0, CHECKPOINTS, 4):
            async with anyio.create_task_group() as tasks:

                async def cancel(scope: anyio.CancelScope, count: int = count) -> None:
                    await _after_checkpoints(count)()
                    scope.cancel()

                tasks.start_soon(cancel, tasks.cancel_scope)
                async with backend.open(spec):
                    await anyio.sleep_forever()
        async with backend.open(spec) as box:
            assert await read(box.files, "kept") == b"1"
        await backend.destroy(spec.id)

    async def test_destroy_is_idempotent(self, backend: Backend) -> None:
        spec = fresh(persistent=True)
        async with backend.open(spec):
            pass
        for _ in range(3):
            await backend.destroy(spec.id)
            assert spec.id not in await backend.owned()
        await backend.destroy("sb_never_was_there")

    async def test_destroy_while_open(self, backend: Backend) -> None:
        spec = fresh(persistent=True)
        async with backend.open(spec) as box:
            process = await box.start(program("sleep", "20"))
            await backend.destroy(spec.id)
            with anyio.fail_after(5):
                assert (await process.wait()).code is None
            with pytest.raises(AtollError):
                await box.start(program("true"))
            await backend.destroy(spec.id)
        assert spec.id not in await backend.owned()

    async def test_a_healthy_sandbox_has_not_ended(self, backend: Backend) -> None:
        async with backend.open(fresh()) as box:
            if not isinstance(box, Ended):
                pytest.skip("It cannot say when it has ended.")
            with anyio.move_on_after(0.1) as scope:
                await box.ended()
            assert scope.cancelled_caught


def _after_checkpoints(count: int) -> Callable[[], Awaitable[None]]:
    async def moment() -> None:
        for _ in range(count):
            await checkpoint()

    return moment


def _after_seconds(seconds: float) -> Callable[[], Awaitable[None]]:
    async def moment() -> None:
        await anyio.sleep(seconds)

    return moment
