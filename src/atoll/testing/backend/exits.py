"""How programs end: a code of their own, or a signal, and never one for the other."""

import anyio
import pytest

from atoll.core.errors import InvalidRequest, NotFound
from atoll.core.model import Channel, ExitReason
from atoll.core.ports import Backend, Sandbox
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import finish, first, fresh, program, run, script

AT_ONCE = 8


class ExitCases(Cases):
    """`Exit.code`, `Exit.signal` and `Process.signal`."""

    theme_needs = ("programs",)

    @pytest.mark.slow
    async def test_every_exit_code(self, box: Sandbox) -> None:
        limiter = anyio.CapacityLimiter(AT_ONCE)
        seen: dict[int, tuple[int | None, ExitReason, int | None]] = {}

        async def one(code: int) -> None:
            async with limiter:
                ended = (await run(box, script(f"exit {code}"))).exit
                seen[code] = (ended.code, ended.reason, ended.signal)

        async with anyio.create_task_group() as tasks:
            for code in range(256):
                tasks.start_soon(one, code)
        assert seen == {code: (code, ExitReason.EXITED, None) for code in range(256)}

    @needs("processes")
    @pytest.mark.parametrize("number", [1, 2, 3, 6, 9, 11, 13, 14, 15])
    async def test_death_by_a_signal(self, box: Sandbox, number: int) -> None:
        ended = (await run(box, script(f"kill -{number} $$; sleep 5"))).exit
        assert (ended.code, ended.reason, ended.signal) == (None, ExitReason.SIGNAL, number)

    @pytest.mark.parametrize("number", [9, 11, 15])
    async def test_a_code_that_looks_like_a_signal(self, box: Sandbox, number: int) -> None:
        ended = (await run(box, script(f"exit {128 + number}"))).exit
        assert (ended.code, ended.reason, ended.signal) == (128 + number, ExitReason.EXITED, None)

    @pytest.mark.parametrize("number", [2, 9, 15])
    async def test_a_signal_from_outside(self, box: Sandbox, number: int) -> None:
        process = await box.start(program("sleep", "20"))
        await anyio.sleep(0.05)
        await process.signal(number)
        ended = (await finish(process)).exit
        assert (ended.code, ended.reason, ended.signal) == (None, ExitReason.SIGNAL, number)

    @needs("processes")
    async def test_a_signal_reaches_the_process_group(self, box: Sandbox, place: str) -> None:
        late = f"sleep 0.4 && echo alive > {place}/alive & echo ready; sleep 20"
        process = await box.start(script(late))
        assert await first(process) == b"ready\n"
        await process.signal(9)
        with anyio.fail_after(10):
            await process.wait()
        await anyio.sleep(0.6)
        with pytest.raises(NotFound):
            await box.files.stat(f"{place}/alive")

    @needs("shell")
    async def test_a_signal_can_be_handled(self, box: Sandbox) -> None:
        handler = "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.05; done"
        process = await box.start(script(handler))
        output = process.output()
        with anyio.fail_after(10):
            assert (await anext(output))[1] == b"ready\n"
            await process.signal(15)
            rest = b"".join([data async for channel, data in output if channel is Channel.STDOUT])
            ended = await process.wait()
        assert rest == b"got\n"
        assert (ended.code, ended.reason) == (7, ExitReason.EXITED)

    @needs("shell")
    async def test_stop_and_continue(self, box: Sandbox) -> None:
        process = await box.start(program("sleep", "0.2"))
        await process.signal(19)
        with anyio.move_on_after(0.5) as scope:
            await process.wait()
        assert scope.cancelled_caught
        await process.signal(18)
        assert (await finish(process)).exit.code == 0

    async def test_a_signal_after_the_end_is_nothing(self, box: Sandbox) -> None:
        process = await box.start(program("true"))
        with anyio.fail_after(10):
            await process.wait()
            await process.signal(15)
            assert (await process.wait()).code == 0

    async def test_no_such_signal_is_refused(self, backend: Backend) -> None:
        async with backend.open(fresh()) as box:
            process = await box.start(program("sleep", "5"))
            for number in (-1, 1000):
                with pytest.raises(InvalidRequest):
                    await process.signal(number)
            await process.signal(9)
            assert (await finish(process)).exit.signal == 9
            assert (await run(box, program("echo", "fine"))).stdout == b"fine\n"
