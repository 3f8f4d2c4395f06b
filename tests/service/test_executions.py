from contextlib import aclosing
from dataclasses import replace

import anyio
import pytest
from anyio.lowlevel import checkpoint

from atoll.backends.fake import FakeBackend
from atoll.backends.fake.program import Invocation
from atoll.core.errors import (
    AtollError,
    BackendFault,
    Busy,
    InvalidRequest,
    TooLarge,
    Unsupported,
)
from atoll.core.model import Channel, ExitReason, Isolation, NetworkPolicy
from atoll.service import executions
from atoll.service.executions import Execution, ExecutionResult, Finished, Output, Started
from tests.service.rig import ALICE, Rig, rig_of, until_ready

pytestmark = pytest.mark.anyio

HELLO = Execution(language="sh", code="echo hello; echo oops >&2; exit 3")


def command(*argv: str) -> Execution:
    return Execution(argv=argv)


async def clean(rig: Rig, ready: int = 2) -> None:
    """Wait until only the ready sandboxes are left."""
    with anyio.fail_after(5):
        await until_ready(rig.pool, ready)
        while len(await rig.backend.owned()) != ready:
            await checkpoint()
    assert rig.quotas.in_use(ALICE.tenant) == 0
    assert rig.pool.stats()["running"] == 0


async def test_the_result_has_everything() -> None:
    async with rig_of() as rig:
        await until_ready(rig.pool, 2)
        result = await rig.executions.run(HELLO, ALICE)
        assert (result.stdout, result.stderr) == (b"hello\n", b"oops\n")
        assert (result.exit.code, result.exit.reason) == (3, ExitReason.EXITED)
        assert result.truncated is False
        assert result.backend == "fake"
        assert result.id.startswith("ex_")
        assert set(result.timings) == {"queue_ms", "open_ms", "run_ms", "total_ms"}
        parts = [result.timings[name] for name in ("queue_ms", "open_ms", "run_ms")]
        assert sum(parts) <= result.timings["total_ms"]
        await clean(rig)


async def test_nothing_is_kept_between_two() -> None:
    async with rig_of() as rig:
        await rig.executions.run(Execution(language="sh", code="echo 1 > left"), ALICE)
        result = await rig.executions.run(Execution(language="sh", code="cat left"), ALICE)
        assert result.exit.code != 0


async def test_a_guest_that_fails_is_a_result() -> None:
    async with rig_of() as rig:
        late = await rig.executions.run(replace(command("sleep", "60"), wall_s=0.01), ALICE)
        assert late.exit.reason is ExitReason.WALL_TIME
        cut = await rig.executions.run(replace(command("yes"), output_bytes=10_000), ALICE)
        assert cut.exit.reason is ExitReason.OUTPUT
        assert cut.truncated
        assert len(cut.stdout) == 10_000


async def test_arguments_environment_and_files_arrive() -> None:
    backend = FakeBackend()

    async def show(call: Invocation) -> int:
        await call.stdout(" ".join(call.argv).encode())
        return 0

    backend.script("show", show)
    async with rig_of(backend) as rig:
        request = Execution(
            language="sh",
            code="cat data/x; echo $NAME $FLAVOUR",
            files={"data/x": b"\0\xff\n"},
            env={"NAME": "two"},
        )
        result = await rig.executions.run(request, ALICE)
        assert result.stdout == b"\0\xff\ntwo plain\n"
        result = await rig.executions.run(replace(command("show", "a"), args=("-b", "c d")), ALICE)
        assert result.stdout == b"show a -b c d"


@pytest.mark.parametrize("size", [1, 200_000])
async def test_stdin_is_fed_while_the_output_is_read(size: int) -> None:
    async with rig_of() as rig:
        data = bytes(range(250)) * (size // 250 + 1)
        result = await rig.executions.run(replace(command("cat"), stdin=data[:size]), ALICE)
        assert result.stdout == data[:size]
        await clean(rig)


async def test_a_program_need_not_read_its_stdin() -> None:
    async with rig_of() as rig:
        result = await rig.executions.run(replace(command("true"), stdin=b"x" * 300_000), ALICE)
        assert result.exit.code == 0
        await clean(rig)


async def test_without_stdin_there_is_end_of_file() -> None:
    async with rig_of() as rig:
        for stdin in (None, b""):
            result = await rig.executions.run(replace(command("cat"), stdin=stdin), ALICE)
            assert (result.exit.code, result.stdout) == (0, b"")


async def test_a_sandbox_that_was_dead_is_replaced_silently() -> None:
    async with rig_of() as rig:
        rig.backend.faults.fail("start", BackendFault("it was dead"))
        result = await rig.executions.run(HELLO, ALICE)
        assert result.stdout == b"hello\n"
        assert [event.outcome for event in rig.audit._pending] == ["exited"]


async def test_only_once() -> None:
    async with rig_of() as rig:
        rig.backend.faults.fail("start", BackendFault("it was dead"), times=2)
        with pytest.raises(BackendFault):
            await rig.executions.run(HELLO, ALICE)
        await clean(rig)


async def test_not_with_a_network_where_something_may_have_happened() -> None:
    backend = FakeBackend(capabilities={"network"})
    async with rig_of(backend) as rig:
        backend.faults.fail("start", BackendFault("it was dead"))
        with pytest.raises(BackendFault):
            await rig.executions.run(replace(HELLO, network=NetworkPolicy("full")), ALICE)
        await clean(rig)


async def test_a_fault_after_the_start_is_told() -> None:
    async with rig_of() as rig:
        rig.backend.faults.fail("wait", BackendFault("gone"))
        with pytest.raises(BackendFault):
            await rig.executions.run(HELLO, ALICE)
        assert [event.outcome for event in rig.audit._pending] == ["backend_fault"]
        await clean(rig)


async def test_a_backend_that_does_not_end_the_program_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executions, "GRACE_S", 0.0)
    async with rig_of() as rig:
        rig.backend.faults.hang("wait")
        with pytest.raises(BackendFault, match="did not end"):
            await rig.executions.run(replace(command("true"), wall_s=0.05), ALICE)
        with pytest.raises(BackendFault, match="did not end"):
            async for _ in rig.executions.stream(replace(command("true"), wall_s=0.05), ALICE):
                pass
        await clean(rig)


async def test_a_backend_whose_output_does_not_end_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executions, "GRACE_S", -9.98)
    async with rig_of() as rig:
        rig.backend.faults.hang("output")
        stream = rig.executions.stream(replace(command("echo", "x"), wall_s=10.0), ALICE)
        assert isinstance(await anext(stream), Started)
        with pytest.raises(BackendFault, match="did not end"):
            await anext(stream)
        await clean(rig)


@pytest.mark.parametrize("step", ["start", "output", "wait", "stdin"])
async def test_cancelling_at_any_step_leaks_nothing(step: str) -> None:
    async with rig_of() as rig:
        hang = rig.backend.faults.hang(step)
        async with anyio.create_task_group() as group:
            request = replace(command("cat"), stdin=b"x")
            group.start_soon(rig.executions.run, request, ALICE)
            await hang.reached.wait()
            group.cancel_scope.cancel()
        hang.release()
        await clean(rig)
        assert [event.outcome for event in rig.audit._pending] == ["cancelled"]


async def test_cancelling_after_any_number_of_steps_leaks_nothing() -> None:
    async with rig_of() as rig:
        for steps in range(40):
            async with anyio.create_task_group() as group:
                group.start_soon(rig.executions.run, HELLO, ALICE)
                for _ in range(steps):
                    await checkpoint()
                group.cancel_scope.cancel()
            await clean(rig)


async def test_a_tenant_may_run_only_so_many() -> None:
    async with rig_of() as rig:
        hang = rig.backend.faults.hang("wait")
        caller = replace(ALICE, max_concurrent=1)
        async with anyio.create_task_group() as group:
            group.start_soon(rig.executions.run, HELLO, caller)
            await hang.reached.wait()
            with pytest.raises(Busy):
                await rig.executions.run(HELLO, caller)
            hang.release()
        await rig.executions.run(HELLO, caller)


async def test_what_no_backend_can_do_is_refused() -> None:
    async with rig_of() as rig:
        with pytest.raises(Unsupported):
            await rig.executions.run(replace(HELLO, min_isolation=Isolation.VIRTUAL_MACHINE), ALICE)
        with pytest.raises(Unsupported, match="network"):
            await rig.executions.run(replace(HELLO, network=NetworkPolicy("full")), ALICE)
        with pytest.raises(InvalidRequest, match="backend"):
            await rig.executions.run(replace(HELLO, backend="none"), ALICE)


async def test_the_audit_log_says_who_ran_what() -> None:
    async with rig_of() as rig:
        result = await rig.executions.run(HELLO, ALICE)
        await rig.executions.run(command("true"), ALICE)
        await rig.audit.flush()
        first, second = rig.events.written
        assert (first.action, first.tenant, first.actor) == ("execute", "alice", "alice")
        assert (first.outcome, first.sandbox_id) == ("exited", result.id)
        assert first.detail == {"language": "sh", "backend": "fake"}
        assert second.action == "run"
        assert second.detail == {"command": '["true"]', "backend": "fake"}


async def test_a_stream_tells_the_start_the_output_and_the_end() -> None:
    async with rig_of() as rig:
        events = [event async for event in rig.executions.stream(HELLO, ALICE)]
        assert isinstance(events[0], Started)
        assert events[1:-1] == [
            Output(Channel.STDOUT, b"hello\n"),
            Output(Channel.STDERR, b"oops\n"),
        ]
        assert isinstance(events[-1], Finished)
        result = events[-1].result
        assert (result.id, result.exit.code, result.stdout) == (events[0].id, 3, b"")
        await clean(rig)


async def test_a_stream_gives_each_piece_as_it_is_written() -> None:
    backend = FakeBackend()
    more = anyio.Event()

    async def slow(call: Invocation) -> int:
        await call.stdout(b"one")
        await more.wait()
        await call.stdout(b"two")
        return 0

    backend.script("slow", slow)
    async with (
        rig_of(backend) as rig,
        aclosing(rig.executions.stream(command("slow"), ALICE)) as stream,
    ):
        assert isinstance(await anext(stream), Started)
        assert await anext(stream) == Output(Channel.STDOUT, b"one")
        more.set()
        assert await anext(stream) == Output(Channel.STDOUT, b"two")
        assert isinstance(await anext(stream), Finished)


@pytest.mark.parametrize("steps", [1, 2])
async def test_closing_a_stream_kills_the_program(steps: int) -> None:
    async with rig_of() as rig:
        request = replace(command("sh", "-c", "echo 1; sleep 60"), stdin=b"x")
        async with aclosing(rig.executions.stream(request, ALICE)) as stream:
            for _ in range(steps):
                await anext(stream)
        await clean(rig)
        assert [event.outcome for event in rig.audit._pending] == ["cancelled"]


async def test_a_wrong_request_is_refused_at_the_first_step_of_a_stream() -> None:
    async with rig_of() as rig:
        with pytest.raises(InvalidRequest):
            await anext(rig.executions.stream(Execution(), ALICE))


async def test_a_stream_that_fails_says_so_in_the_log() -> None:
    async with rig_of() as rig:
        rig.backend.faults.fail("wait", BackendFault("gone"))
        stream = rig.executions.stream(HELLO, ALICE)
        assert isinstance(await anext(stream), Started)
        with pytest.raises(BackendFault):
            async for event in stream:
                assert isinstance(event, Output)
        assert [event.outcome for event in rig.audit._pending] == ["backend_fault"]


async def test_a_batch_keeps_the_order_and_one_failure_spoils_nothing() -> None:
    async with rig_of() as rig:
        requests = [
            Execution(language="sh", code="echo 0"),
            Execution(language="klingon", code=""),
            Execution(language="sh", code="exit 9"),
            Execution(language="sh", code="echo 3"),
        ]
        results = await rig.executions.batch(requests, ALICE, 2)
        assert [
            result.stdout if isinstance(result, ExecutionResult) else type(result)
            for result in results
        ] == [b"0\n", InvalidRequest, b"", b"3\n"]
        assert await rig.executions.batch([], ALICE, 2) == []


async def test_a_batch_runs_at_most_so_many_at_once() -> None:
    backend = FakeBackend()
    now, most = 0, 0

    async def count(call: Invocation) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(5):
            await checkpoint()
        now -= 1
        return 0

    backend.script("count", count)
    async with rig_of(backend, max_running=10) as rig:
        results = await rig.executions.batch([command("count")] * 12, ALICE, 3)
        assert not any(isinstance(result, AtollError) for result in results)
        assert most == 3
        await rig.executions.batch([command("count")] * 6, replace(ALICE, max_concurrent=1), 3)


async def test_a_batch_has_a_bound() -> None:
    async with rig_of() as rig:
        with pytest.raises(TooLarge):
            await rig.executions.batch([HELLO] * 21, ALICE, 2)
        with pytest.raises(InvalidRequest):
            await rig.executions.batch([HELLO], ALICE, 0)
