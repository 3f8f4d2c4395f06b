"""What a program writes becomes chunks: a line is one, whatever the pieces it was written in."""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import anyio.lowlevel
import pytest

from atoll.core.model import Channel
from atoll.jail.host.output import CHUNK, Output

pytestmark = pytest.mark.anyio
Chunk = tuple[Channel, bytes]
OUT, ERR = Channel.STDOUT, Channel.STDERR


class Pipes:
    """The far ends of a program's pipes."""

    def __init__(self) -> None:
        self._ends: dict[Channel, int] = {}
        ours: dict[int, Channel] = {}
        for channel in (OUT, ERR):
            fd, self._ends[channel] = os.pipe()
            os.set_blocking(fd, False)
            ours[fd] = channel
        self.output = Output(ours, 10 * CHUNK, lambda: None)

    def write(self, channel: Channel, data: bytes) -> None:
        os.write(self._ends[channel], data)

    def close(self) -> None:
        for fd in self._ends.values():
            os.close(fd)
        self._ends.clear()


@pytest.fixture
async def pipes() -> AsyncGenerator[Pipes, None]:
    made = Pipes()
    yield made
    made.close()
    made.output.close()


async def next_of(pipes: Pipes) -> Chunk:
    with anyio.fail_after(5):
        return await anext(pipes.output.chunks())


async def turn() -> None:
    """Let the loop look at its descriptors once."""
    looked = asyncio.Event()
    one, two = os.pipe()
    asyncio.get_running_loop().add_reader(one, looked.set)
    os.write(two, b".")
    await looked.wait()
    asyncio.get_running_loop().remove_reader(one)
    os.close(one)
    os.close(two)


async def test_a_line_in_two_pieces_is_one_chunk(pipes: Pipes) -> None:
    pipes.write(OUT, b"0")
    await turn()
    pipes.write(OUT, b"\n")
    assert await next_of(pipes) == (OUT, b"0\n")


async def test_half_a_line_does_not_wait_for_the_rest_of_it(pipes: Pipes) -> None:
    pipes.write(OUT, b"name? ")
    began = anyio.current_time()
    assert await next_of(pipes) == (OUT, b"name? ")
    assert anyio.current_time() - began < 0.5
    pipes.write(OUT, b"\n")
    assert await next_of(pipes) == (OUT, b"\n")


async def test_the_order_of_the_channels_is_kept(pipes: Pipes) -> None:
    for channel, data in ((OUT, b"a\n"), (ERR, b"b\n"), (OUT, b"c"), (OUT, b"d\n")):
        pipes.write(channel, data)
        await turn()
    pipes.close()
    with anyio.fail_after(5):
        async with aclosing(pipes.output.chunks()) as chunks:
            assert [each async for each in chunks] == [(OUT, b"a\n"), (ERR, b"b\n"), (OUT, b"cd\n")]


async def test_no_chunk_is_larger_than_a_chunk(pipes: Pipes) -> None:
    data = bytes(range(256)) * (CHUNK // 256)
    whole = b""
    async with aclosing(pipes.output.chunks()) as chunks:
        for size in (CHUNK // 2, CHUNK // 2 + 1, CHUNK - 1):
            pipes.write(OUT, data[:size])
            await turn()
        pipes.close()
        with anyio.fail_after(5):
            async for channel, chunk in chunks:
                assert channel is OUT
                assert 0 < len(chunk) <= CHUNK
                whole += chunk
    assert whole == data[: CHUNK // 2] + data[: CHUNK // 2 + 1] + data[: CHUNK - 1]


async def test_the_end_does_not_wait(pipes: Pipes) -> None:
    pipes.write(ERR, b"no line")
    await turn()
    pipes.output.finish()
    with contextlib.closing(pipes.output):
        async with aclosing(pipes.output.chunks()) as chunks:
            assert [each async for each in chunks] == [(ERR, b"no line")]


NONCE = "0" * 16
SAID = b"\0atoll:" + NONCE.encode() + b":1500:2000\n"


@pytest.mark.parametrize("size", [0, 1, 5, len(SAID) - 1])
async def test_a_farewell_is_told_and_not_read(size: int) -> None:
    told: list[tuple[float, int]] = []
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4 * CHUNK)
    before = b"x" * (CHUNK - size)
    assert os.write(write, before + SAID) == len(before + SAID)
    os.close(write)
    output = Output({read: Channel.STDOUT}, 10**6, lambda: None)
    output.await_farewell(NONCE, lambda cpu_s, peak: told.append((cpu_s, peak)))
    found = b"".join([data async for _, data in output.chunks()])
    await anyio.lowlevel.checkpoint()
    assert found == before
    assert told == [(0.0015, 2000 * 1024)]


@pytest.mark.parametrize("data", [b"\0", SAID[:-1], SAID.replace(b"0", b"1"), SAID + b"more"])
async def test_what_only_looks_like_a_farewell(data: bytes) -> None:
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    output = Output({read: Channel.STDOUT}, 10**6, lambda: None)
    output.await_farewell(NONCE, lambda *_: pytest.fail("it was none"))
    os.write(write, data)
    os.close(write)
    assert b"".join([each async for _, each in output.chunks()]) == data
