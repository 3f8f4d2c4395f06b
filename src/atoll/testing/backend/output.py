"""Output: as it is written, byte for byte, each channel apart."""

import random

import anyio
import pytest

from atoll.core.model import MIB, Exit, ExitReason
from atoll.core.ports import Sandbox
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import finish, first, program, run, script


class OutputCases(Cases):
    """`Process.output` and `Process.wait`."""

    theme_needs = ("programs",)

    async def test_output_arrives_as_it_is_written(self, box: Sandbox) -> None:
        done = await run(box, script("echo one; sleep 0.4; echo two"))
        assert done.stdout == b"one\ntwo\n"
        assert done.chunks[-1].at - done.chunks[0].at > 0.2

    async def test_output_without_a_newline_is_not_held_back(self, box: Sandbox) -> None:
        process = await box.start(script("printf prompt; sleep 5"))
        with anyio.fail_after(3):
            assert await first(process) == b"prompt"
        await process.signal(9)
        await process.wait()

    async def test_every_byte_value_passes(self, box: Sandbox, place: str) -> None:
        data = bytes(range(256)) * 16
        await box.files.write(f"{place}/bytes", data)
        done = await run(box, program("cat", f"{place}/bytes"))
        assert done.stdout == data

    async def test_megabytes_are_exact(self, box: Sandbox, place: str) -> None:
        data = random.Random(7).randbytes(3 * MIB)  # noqa: S311 - not a secret
        await box.files.write(f"{place}/big", data)
        done = await run(box, program("cat", f"{place}/big"))
        assert done.stdout == data
        assert max(len(chunk.data) for chunk in done.chunks) <= 64 * 1024

    async def test_stderr_is_apart(self, box: Sandbox) -> None:
        done = await run(box, script("echo out; echo err >&2; echo again"))
        assert (done.stdout, done.stderr) == (b"out\nagain\n", b"err\n")

    async def test_a_silent_program_has_no_output(self, box: Sandbox) -> None:
        done = await run(box, program("true"))
        assert done.chunks == ()

    @needs("processes")
    async def test_output_ends_though_a_child_holds_the_pipe(self, box: Sandbox) -> None:
        with anyio.fail_after(5):
            done = await run(box, script("sleep 20 & echo done"))
        assert done.stdout == b"done\n"
        assert done.exit.code == 0

    async def test_output_can_be_read_after_the_end(self, box: Sandbox) -> None:
        process = await box.start(script("echo late; exit 3"))
        with anyio.fail_after(10):
            assert (await process.wait()).code == 3
        assert (await finish(process)).stdout == b"late\n"

    async def test_a_reader_that_leaves_does_not_end_the_program(self, box: Sandbox) -> None:
        process = await box.start(script("sleep 0.3; exit 4"))
        with anyio.move_on_after(0.1) as scope:
            async for _ in process.output():
                pytest.fail("There is no output.")
        assert scope.cancelled_caught
        with anyio.fail_after(10):
            assert (await process.wait()).code == 4

    async def test_a_waiter_that_leaves_does_not_end_the_program(self, box: Sandbox) -> None:
        process = await box.start(script("sleep 0.3; exit 5"))
        with anyio.move_on_after(0.05) as scope:
            await process.wait()
        assert scope.cancelled_caught
        assert (await finish(process)).exit.code == 5

    async def test_all_who_wait_get_the_same(self, box: Sandbox) -> None:
        process = await box.start(script("sleep 0.1; exit 6"))
        exits: list[Exit] = []

        async def wait() -> None:
            exits.append(await process.wait())

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                tasks.start_soon(wait)
        exits.append(await process.wait())
        assert [exit_.code for exit_ in exits] == [6, 6, 6]
        assert exits[0] == exits[1] == exits[2]

    async def test_the_usage_is_told(self, box: Sandbox) -> None:
        done = await run(box, program("sleep", "0.2"))
        assert done.exit.reason is ExitReason.EXITED
        assert 0.15 < done.exit.usage.wall_s < 5
