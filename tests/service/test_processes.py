import signal
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from atoll.backends.fake import FakeBackend, Invocation
from atoll.core.errors import (
    BackendFault,
    Busy,
    Conflict,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    TooLarge,
)
from atoll.core.model import Channel, ExitReason, TtySize
from atoll.core.states import State
from atoll.service import live as live_module
from atoll.service import processes as processes_module
from atoll.service.requests import OutputChunk, ProcessFinished, ProcessStarted
from tests.service.island import ALICE, BOB, Island, Script, argv, eventually, island, until

pytestmark = pytest.mark.anyio


async def output(world: Island, sandbox: str, number: int, position: int = 0) -> bytes:
    chunks = world.processes.output(ALICE, sandbox, number, position=position)
    return b"".join([chunk.data async for chunk in chunks])


async def test_run(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        result = await world.processes.run(ALICE, made.id, argv("sh", "-c", "echo out; exit 3"))
        assert (result.stdout, result.stderr) == (b"out\n", b"")
        assert (result.exit.code, result.exit.reason) == (3, ExitReason.EXITED)
        fed = await world.processes.run(ALICE, made.id, argv("cat"), b"x" * 300_000)
        assert fed.stdout == b"x" * 300_000
        both = await world.processes.run(ALICE, made.id, argv("sh", "-c", "echo a; echo b >&2"))
        assert (both.stdout, both.stderr) == (b"a\n", b"b\n")
        with pytest.raises(InvalidRequest):
            await world.processes.run(ALICE, made.id, argv("no-such-program"))
        listed = await world.processes.list(ALICE, made.id)
        assert [p.number for p in listed] == [1, 2, 3]
        assert all(p.exit is not None and not p.background for p in listed)
        assert await output(world, made.id, 3) == b"a\nb\n"


async def test_a_run_that_does_not_read_its_input(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        result = await world.processes.run(ALICE, made.id, argv("true"), b"x" * 3_000_000)
        assert result.exit.code == 0


async def test_cut_output_says_so(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        result = await world.processes.run(ALICE, made.id, argv("yes", output_bytes=1000))
        assert len(result.stdout) == 1000
        assert result.truncated
        assert result.exit.reason is ExitReason.OUTPUT


async def test_cancelling_a_run_ends_the_process(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        script = Script(world.backend, "forever")
        async with anyio.create_task_group() as group:
            group.start_soon(world.processes.run, ALICE, made.id, argv("forever"))
            await script.running.wait()
            group.cancel_scope.cancel()
        [process] = await world.processes.list(ALICE, made.id)
        assert process.exit is not None
        assert process.exit.signal == signal.SIGKILL
        assert await world.state(made.id) is State.RUNNING
        await world.check()


async def test_stream(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        events = [e async for e in world.processes.stream(ALICE, made.id, argv("cat"), b"hello")]
        assert isinstance(events[0], ProcessStarted)
        assert events[0].record.number == 1
        assert [e.data for e in events if isinstance(e, OutputChunk)] == [b"hello"]
        assert isinstance(events[-1], ProcessFinished)
        assert events[-1].exit.code == 0
        stored = await world.processes.get(ALICE, made.id, 1)
        assert stored.exit == events[-1].exit


async def test_output_is_told_at_once(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        script = Script(world.backend, "speak")
        stream = world.processes.stream(ALICE, made.id, argv("speak"))
        async with aclosing(stream):
            await anext(stream)
            await script.running.wait()
            await script.say(b"first")
            with anyio.fail_after(1):
                chunk = await anext(stream)
            assert isinstance(chunk, OutputChunk)
            assert (chunk.data, chunk.position_after) == (b"first", 5)


async def test_closing_a_stream_ends_the_process(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        Script(world.backend, "forever")
        stream = world.processes.stream(ALICE, made.id, argv("forever"))
        await anext(stream)
        await stream.aclose()
        await eventually(lambda: _ended(world, made.id, 1))
        await world.check()


async def _ended(world: Island, sandbox: str, number: int) -> bool:
    """Stored, too, which is a moment later than known."""
    stored = await world.store.get_process(sandbox, number)
    return stored is not None and stored.exit is not None


@pytest.mark.parametrize("hung", ["start", "output", "wait"])
async def test_a_stream_cancelled_anywhere_leaves_no_process(
    tmp_path: Path, hung: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_module, "SIGNAL_S", 0.05)
    async with island(tmp_path) as world:
        made = await world.create()
        hang = world.backend.faults.hang(hung, times=1)

        async def consume() -> None:
            async with aclosing(world.processes.stream(ALICE, made.id, argv("echo", "x"))) as s:
                async for _ in s:
                    pass

        async with anyio.create_task_group() as group:
            group.start_soon(consume)
            await hang.reached.wait()
            group.cancel_scope.cancel()
        await eventually(lambda: _ended(world, made.id, 1))
        await world.check()


async def test_background_processes_outlive_their_client(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        script = Script(world.backend, "serve")
        async with anyio.create_task_group() as group:
            group.start_soon(world.processes.start, ALICE, made.id, argv("serve"))
            await script.running.wait()
            group.cancel_scope.cancel()
        await script.say(b"one")
        reading = world.processes.output(ALICE, made.id, 1)
        first = await anext(reading)
        await reading.aclose()
        await script.say(b"two")
        script.leave.set()
        assert (await world.processes.wait(ALICE, made.id, 1, 5)) is not None
        assert await output(world, made.id, 1, first.position_after) == b"two"
        ended = await world.processes.get(ALICE, made.id, 1)
        assert ended.background
        assert ended.exit is not None
        assert ended.exit.code == 0
        await world.check()


async def test_the_record_is_stored_before_the_start(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        hang = world.backend.faults.hang("start", times=1)
        async with anyio.create_task_group() as group:
            group.start_soon(world.processes.start, ALICE, made.id, argv("true"))
            await hang.reached.wait()
            assert [p.number for p in await world.store.unfinished_processes()] == [1]
            hang.release()
        with pytest.raises(InvalidRequest):
            await world.processes.start(ALICE, made.id, argv("no-such-program"))
        await eventually(lambda: _ended(world, made.id, 2))
        failed = await world.processes.get(ALICE, made.id, 2)
        assert failed.exit is not None
        assert failed.exit.code is None


async def test_numbers_count_up_across_stops_and_restarts(tmp_path: Path) -> None:
    backend = FakeBackend()
    async with island(tmp_path, backend) as world:
        made = await world.create()
        for expected in (1, 2):
            started = await world.processes.start(ALICE, made.id, argv("true"))
            assert started.number == expected
        await world.processes.run(ALICE, made.id, argv("true"))
        await world.sandboxes.stop(ALICE, made.id)
        assert (await world.processes.start(ALICE, made.id, argv("true"))).number == 4
    async with island(tmp_path, backend) as world:
        numbers: list[int] = []

        async def start() -> None:
            numbers.append((await world.processes.start(ALICE, made.id, argv("true"))).number)

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(start)
        assert sorted(numbers) == [5, 6, 7, 8, 9]


async def test_live_processes_are_bounded(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        world.processes._launcher._max_live = 2
        Script(world.backend, "serve")
        for _ in range(2):
            await world.processes.start(ALICE, made.id, argv("serve"))
        with pytest.raises(QuotaExceeded):
            await world.processes.start(ALICE, made.id, argv("serve"))
        with pytest.raises(QuotaExceeded):
            await world.processes.run(ALICE, made.id, argv("true"))
        await world.processes.kill(ALICE, made.id, 1)
        await world.processes.run(ALICE, made.id, argv("true"))


async def test_kill_and_signal(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        Script(world.backend, "serve")
        await world.processes.start(ALICE, made.id, argv("serve"))
        with pytest.raises(InvalidRequest):
            await world.processes.signal(ALICE, made.id, 1, 0)
        await world.processes.signal(ALICE, made.id, 1, signal.SIGTERM)
        ended = await world.processes.wait(ALICE, made.id, 1, 5)
        assert ended is not None
        assert ended.signal == signal.SIGTERM
        assert (await world.processes.kill(ALICE, made.id, 1)).exit == ended
        with pytest.raises(Conflict, match="has ended"):
            await world.processes.signal(ALICE, made.id, 1, signal.SIGTERM)
        for wrong in (0, 2, -1, 2**70):
            with pytest.raises(NotFound):
                await world.processes.kill(ALICE, made.id, wrong)
        with pytest.raises(NotFound):
            await world.processes.kill(BOB, made.id, 1)


async def test_wait_has_a_deadline(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        Script(world.backend, "serve")
        await world.processes.start(ALICE, made.id, argv("serve"))
        assert await world.processes.wait(ALICE, made.id, 1, 0) is None
        with pytest.raises(InvalidRequest):
            await world.processes.wait(ALICE, made.id, 1, float("nan"))


async def test_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        await world.processes.start(ALICE, made.id, argv("cat", stdin=True))
        await world.processes.write_stdin(ALICE, made.id, 1, b"one ")
        await world.processes.write_stdin(ALICE, made.id, 1, b"two")
        with pytest.raises(TooLarge):
            await world.processes.write_stdin(ALICE, made.id, 1, b"x" * (1024 * 1024 + 1))
        await world.processes.close_stdin(ALICE, made.id, 1)
        await world.processes.close_stdin(ALICE, made.id, 1)
        assert await output(world, made.id, 1) == b"one two"
        await world.processes.wait(ALICE, made.id, 1, 5)
        await world.processes.close_stdin(ALICE, made.id, 1)
        with pytest.raises(Conflict):
            await world.processes.write_stdin(ALICE, made.id, 1, b"late")
        Script(world.backend, "deaf")
        await world.processes.start(ALICE, made.id, argv("deaf", stdin=True))
        monkeypatch.setattr(processes_module, "STDIN_S", 0.02)
        with pytest.raises(Busy):
            await world.processes.write_stdin(ALICE, made.id, 2, b"x" * 1024 * 1024)


async def test_tty(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        script = Script(world.backend, "term")
        started = await world.processes.start(ALICE, made.id, argv("term", tty=TtySize(10, 20)))
        assert started.tty
        await script.running.wait()
        await world.processes.resize(ALICE, made.id, 1, rows=5, cols=6)
        assert script.calls[0].process.tty == TtySize(5, 6)
        Script(world.backend, "plain")
        await world.processes.start(ALICE, made.id, argv("plain"))
        with pytest.raises(Conflict):
            await world.processes.resize(ALICE, made.id, 2, rows=5, cols=6)


async def test_output_of_one_channel(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        await world.processes.start(ALICE, made.id, argv("sh", "-c", "echo a; echo b >&2; echo c"))
        await world.processes.wait(ALICE, made.id, 1, 5)
        chunks = [
            c
            async for c in world.processes.output(
                ALICE, made.id, 1, channel=Channel.STDOUT, position=1
            )
        ]
        assert b"".join(c.data for c in chunks) == b"\nc\n"
        assert chunks[-1].position_after == 4
        with pytest.raises(InvalidRequest):
            await anext(world.processes.output(ALICE, made.id, 1, position=-1))
        with pytest.raises(NotFound):
            await anext(world.processes.output(ALICE, made.id, 9))
        assert [c async for c in world.processes.output(ALICE, made.id, 1, position=999)] == []


@pytest.mark.parametrize(
    ("why", "reason", "by"),
    [("memory", ExitReason.MEMORY, "memory"), ("crash", ExitReason.UNKNOWN, "crash")],
)
async def test_a_sandbox_that_dies(tmp_path: Path, why: str, reason: ExitReason, by: str) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        await world.files.write(ALICE, made.id, "f", b"kept")
        script = Script(world.backend, "serve")
        await world.processes.start(ALICE, made.id, argv("serve"))
        await script.running.wait()
        await script.say(b"last words")
        await until(lambda: world.keeper.peek(made.id).last_output == b"last words")  # type: ignore[union-attr]
        result = None

        async def run() -> None:
            nonlocal result
            result = await world.processes.run(ALICE, made.id, argv("sleep", "100"))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await until(lambda: len(world.backend.sandbox(made.id).processes) == 2)
            world.backend.die(made.id, why)
        assert result is not None
        assert (result.exit.code, result.exit.reason) == (None, reason)
        await until(lambda: not world.keeper.is_open(made.id))
        ended = await world.processes.get(ALICE, made.id, 1)
        assert ended.exit is not None
        assert (ended.exit.code, ended.exit.reason) == (None, reason)
        assert await world.state(made.id) is State.STOPPED
        note = await world.sandboxes.post_mortem(ALICE, made.id)
        assert (note.ended_by, note.last_output) == (by, "last words")
        assert note.limits == made.limits
        data = [d async for d in world.files.read(ALICE, made.id, "f")]
        assert data == [b"kept"]
        await world.check()


async def test_stopping_lets_processes_end_well(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()

        async def careful(call: Invocation) -> int:
            told = anyio.Event()
            call.process.on_signal(signal.SIGTERM, told.set)
            await call.stdout(b"ready")
            await told.wait()
            await call.stdout(b" bye")
            return 7

        async def stubborn(call: Invocation) -> int:
            call.process.on_signal(signal.SIGTERM, lambda: None)
            await anyio.sleep_forever()
            return 0

        world.backend.script("careful", careful)
        world.backend.script("stubborn", stubborn)
        await world.processes.start(ALICE, made.id, argv("careful"))
        await world.processes.start(ALICE, made.id, argv("stubborn"))
        await until(lambda: world.keeper.peek(made.id).processes[1].log.end > 0)  # type: ignore[union-attr]
        await world.sandboxes.stop(ALICE, made.id)
        first, second = await world.processes.list(ALICE, made.id)
        assert first.exit is not None
        assert second.exit is not None
        assert first.exit.code == 7
        assert second.exit.signal == signal.SIGKILL
        assert await output(world, made.id, 1) == b"ready bye"
        await world.check()


async def test_destroying_does_not_wait_for_a_grace(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        world.keeper._stop_grace_s = 100
        made = await world.create()

        async def stubborn(call: Invocation) -> int:
            call.process.on_signal(signal.SIGTERM, lambda: None)
            await call.stdout(b"still here")
            await anyio.sleep_forever()
            return 0

        world.backend.script("stubborn", stubborn)
        await world.processes.start(ALICE, made.id, argv("stubborn"))
        await until(lambda: world.keeper.peek(made.id).last_output != b"")  # type: ignore[union-attr]
        with anyio.fail_after(2):
            async with anyio.create_task_group() as group:

                async def stop() -> None:
                    await world.sandboxes.stop(ALICE, made.id)

                group.start_soon(stop)
                await until(lambda: world.keeper.held(made.id) is None)
                for _ in range(20):
                    await checkpoint()
                await world.sandboxes.destroy(ALICE, made.id)
        note = await world.sandboxes.post_mortem(ALICE, made.id)
        assert note.last_output == "still here"
        process = await world.store.get_process(made.id, 1)
        assert process is not None
        assert process.exit is not None
        assert process.exit.reason is ExitReason.CANCELLED
        await world.check()


async def test_followers_end_when_the_sandbox_is_destroyed(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        script = Script(world.backend, "serve")
        await world.processes.start(ALICE, made.id, argv("serve"))
        await script.running.wait()
        await script.say(b"x")
        heard: list[bytes] = []

        async def follow() -> None:
            async for chunk in world.processes.output(ALICE, made.id, 1):
                heard.append(chunk.data)

        async with anyio.create_task_group() as group:
            group.start_soon(follow)
            await until(lambda: heard == [b"x"])
            with anyio.fail_after(2):
                await world.sandboxes.destroy(ALICE, made.id)


async def test_an_error_while_starting_in_a_dead_sandbox(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        world.backend.faults.die("start")
        with pytest.raises(BackendFault):
            await world.processes.run(ALICE, made.id, argv("true"))
        await until(lambda: not world.keeper.is_open(made.id))
        assert (await world.processes.run(ALICE, made.id, argv("true"))).exit.code == 0
