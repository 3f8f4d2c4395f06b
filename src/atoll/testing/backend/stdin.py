"""Standard input: fed, held back while the program does not read, and ended."""

import random
from dataclasses import replace

import anyio
import pytest

from atoll.core.errors import Conflict
from atoll.core.model import MIB
from atoll.core.ports import Sandbox
from atoll.testing.backend.cases import Cases
from atoll.testing.backend.running import finish, program, run, script

READER = replace(program("cat"), stdin=True)


class StdinCases(Cases):
    """`Process.write_stdin` and `Process.close_stdin`."""

    theme_needs = ("programs",)

    async def test_stdin_reaches_the_program(self, box: Sandbox) -> None:
        done = await run(box, READER, b"to be\nor not")
        assert done.stdout == b"to be\nor not"
        assert done.exit.code == 0

    async def test_large_stdin_is_exact(self, box: Sandbox) -> None:
        data = random.Random(8).randbytes(3 * MIB)  # noqa: S311 - not a secret
        assert (await run(box, READER, data)).stdout == data

    async def test_stdin_can_be_fed_bit_by_bit(self, box: Sandbox) -> None:
        process = await box.start(READER)
        output = process.output()
        with anyio.fail_after(10):
            for piece in (b"one", b"two"):
                await process.write_stdin(piece)
                _, data = await anext(output)
                assert data == piece
            await process.close_stdin()
            assert [item async for item in output] == []
            assert (await process.wait()).code == 0

    async def test_nothing_is_read_without_stdin(self, box: Sandbox) -> None:
        done = await run(box, program("cat"))
        assert (done.stdout, done.exit.code) == (b"", 0)

    async def test_empty_stdin(self, box: Sandbox) -> None:
        done = await run(box, READER, b"")
        assert (done.stdout, done.exit.code) == (b"", 0)

    async def test_writing_without_stdin_is_a_conflict(self, box: Sandbox) -> None:
        process = await box.start(program("sleep", "5"))
        with pytest.raises(Conflict):
            await process.write_stdin(b"x")
        await process.signal(9)
        await process.wait()

    async def test_writing_after_closing_is_a_conflict(self, box: Sandbox) -> None:
        process = await box.start(READER)
        await process.close_stdin()
        with pytest.raises(Conflict):
            await process.write_stdin(b"x")
        assert (await finish(process)).exit.code == 0

    async def test_closing_twice_is_nothing(self, box: Sandbox) -> None:
        process = await box.start(READER)
        await process.close_stdin()
        await process.close_stdin()
        assert (await finish(process)).exit.code == 0
        await process.close_stdin()

    async def test_writing_after_the_end_is_a_conflict(self, box: Sandbox) -> None:
        process = await box.start(replace(program("true"), stdin=True))
        with anyio.fail_after(10):
            await process.wait()
            with pytest.raises(Conflict):
                for _ in range(100):
                    await process.write_stdin(b"x" * 4096)

    async def test_a_program_that_stops_reading_does_not_hang_the_writer(
        self, box: Sandbox
    ) -> None:
        done = await run(box, replace(script("head -c 3; exit 2"), stdin=True), b"abc" * MIB)
        assert done.stdout == b"abc"
        assert done.exit.code == 2

    async def test_the_writer_waits_while_the_pipe_is_full(self, box: Sandbox) -> None:
        process = await box.start(replace(program("sleep", "20"), stdin=True))
        with anyio.move_on_after(0.3) as scope:
            await process.write_stdin(b"x" * 4 * MIB)
        assert scope.cancelled_caught
        await process.signal(9)
        with anyio.fail_after(10):
            assert (await process.wait()).signal == 9
