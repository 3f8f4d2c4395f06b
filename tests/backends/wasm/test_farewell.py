"""What a worker says at its end is not output, and what only looks like it is."""

from collections.abc import AsyncGenerator, Sequence

import pytest

from atoll.backends.wasm.farewell import CHUNK, Farewell
from atoll.core.model import Channel, ProcessSpec

pytestmark = pytest.mark.anyio
NONCE = "0" * 32
SAID = b"\0atoll:" + NONCE.encode() + b":1500:2000\n"
OUT, ERR = Channel.STDOUT, Channel.STDERR


class Worker:
    """One that has written something to stderr that nobody has read."""

    def rearm(self, spec: ProcessSpec) -> None:
        raise NotImplementedError

    def rest(self) -> Sequence[tuple[Channel, bytes]]:
        return [(ERR, b"late")]


async def told(
    farewell: Farewell, *pieces: bytes, early: bytes = b""
) -> list[tuple[Channel, bytes]]:
    async def output() -> AsyncGenerator[tuple[Channel, bytes], None]:
        for piece in pieces:
            yield OUT, piece

    return [piece async for piece in farewell.until(early, output())]


@pytest.mark.parametrize(
    ("early", "pieces"), [(b"", [b"out" + SAID]), (b"out" + SAID, []), (b"out", [SAID])]
)
async def test_it_ends_the_output(early: bytes, pieces: list[bytes]) -> None:
    farewell = Farewell(NONCE, Worker(), 0.0)
    assert await told(farewell, *pieces, early=early) == [(OUT, b"out"), (ERR, b"late")]
    assert farewell.exit is not None
    usage = farewell.exit.usage
    assert (farewell.exit.code, usage.cpu_s, usage.peak_memory_bytes) == (0, 0.0015, 2_048_000)


@pytest.mark.parametrize("size", range(1, len(SAID)))
async def test_cut_at_the_end_of_a_chunk(size: int) -> None:
    farewell = Farewell(NONCE, Worker(), 0.0)
    first = b"x" * (CHUNK - size) + SAID[:size]
    found = await told(farewell, first, SAID[size:])
    assert b"".join(data for channel, data in found if channel is OUT) == first[: CHUNK - size]
    assert farewell.exit is not None


@pytest.mark.parametrize(
    "data", [b"\0", b"a\0", b"\0atoll", SAID[:-2], SAID.replace(b"0", b"1"), SAID + b"more"]
)
async def test_what_is_none(data: bytes) -> None:
    farewell = Farewell(NONCE, Worker(), 0.0)
    found = await told(farewell, data)
    assert b"".join(piece for _, piece in found) == data
    assert farewell.exit is None


async def test_a_nul_does_not_wait() -> None:
    farewell = Farewell(NONCE, Worker(), 0.0)

    async def output() -> AsyncGenerator[tuple[Channel, bytes], None]:
        yield OUT, b"ask\0"
        raise AssertionError("what was printed has not come out")

    chunks = farewell.until(b"", output())
    assert await anext(chunks) == (OUT, b"ask\0")
    await chunks.aclose()
