import os
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.core.model import Channel
from atoll.service import frames
from atoll.service.frames import Kept
from atoll.service.output import TAIL_BYTES, OutputLog
from atoll.service.outputs import OutputLogs
from atoll.service.requests import OutputChunk

pytestmark = pytest.mark.anyio

OUT, ERR = Channel.STDOUT, Channel.STDERR
CHUNKS = st.lists(
    st.tuples(st.sampled_from([OUT, ERR]), st.binary(min_size=1, max_size=40)), max_size=12
)
Written = list[tuple[Channel, bytes]]


async def everything(
    log: OutputLog | OutputLogs, position: int = 0, channel: Channel | None = None
) -> list[OutputChunk]:
    if isinstance(log, OutputLogs):
        reading = log.read("sb", 1, position=position, channel=channel)
    else:
        reading = log.read(position=position, channel=channel, follow=False)
    return [chunk async for chunk in reading]


def joined(chunks: list[OutputChunk]) -> bytes:
    return b"".join(chunk.data for chunk in chunks)


def of(written: Written, channel: Channel | None) -> bytes:
    return b"".join(data for c, data in written if channel in {None, c})


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(written=CHUNKS, flush_after=st.integers(0, 12), data=st.data())
def test_any_position_can_be_resumed(
    tmp_path_factory: pytest.TempPathFactory,
    written: Written,
    flush_after: int,
    data: st.DataObject,
) -> None:
    """Live, from disk, and after a restart, of both channels and of one."""
    root = tmp_path_factory.mktemp("logs")

    async def main() -> None:
        logs = OutputLogs(root=root)
        log = logs.begin("sb", 1)
        for index, (side, piece) in enumerate(written):
            await log.append(side, piece)
            if index == flush_after:
                await log.flush()
        for stage in ("live", "finished", "restarted"):
            if stage == "finished":
                await logs.finish("sb", 1)
            if stage == "restarted":
                logs = OutputLogs(root=root)
            for channel in (None, OUT, ERR):
                whole = of(written, channel)
                position = data.draw(st.integers(0, len(whole)))
                chunks = await everything(logs if stage != "live" else log, position, channel)
                assert joined(chunks) == whole[position:]
                assert not chunks or chunks[-1].position_after == len(whole)
                assert all(chunk.skipped == 0 for chunk in chunks)
                at = position
                for chunk in chunks:
                    at += len(chunk.data)
                    assert chunk.position_after == at
                    assert channel in {None, chunk.channel}

    anyio.run(main)


def test_a_torn_tail_is_cut_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    for data in (b"first", b"second", b"third"):
        frames.append(path, [Kept(0, 0, OUT, data)], before=0, stdout_before=0, end=False)
    whole = path.read_bytes()
    seen = set()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        frames.repair(tmp_path, 1)
        frames.repair(tmp_path, 1)
        piece = frames.read(tmp_path, 1, position=0, channel=None, budget=1000)
        text = b"".join(chunk.data for chunk in piece.chunks)
        assert b"firstsecondthird".startswith(text)
        assert text in {b"", b"first", b"firstsecond", b"firstsecondthird"}
        assert piece.finished == (size >= 24)
        seen.add(text)
    assert len(seen) == 4


def test_a_flipped_bit_ends_the_log(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    for data in (b"good", b"bad!"):
        frames.append(path, [Kept(0, 0, OUT, data)], before=0, stdout_before=0, end=False)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"bad!")] ^= 1
    path.write_bytes(damaged)
    frames.repair(tmp_path, 1)
    piece = frames.read(tmp_path, 1, position=0, channel=None, budget=1000)
    assert [chunk.data for chunk in piece.chunks] == [b"good"]
    assert piece.finished


async def test_past_the_limit_the_middle_is_cut_and_said(tmp_path: Path) -> None:
    logs = OutputLogs(root=tmp_path, limit_bytes=8000)
    log = logs.begin("sb", 1)
    for n in range(100):
        await log.append(OUT if n % 2 else ERR, b"%03d" % n * 100)
        await log.flush()
    await logs.finish("sb", 1)
    on_disk = sum(path.stat().st_size for path in (tmp_path / "sb").iterdir())
    assert on_disk < 12_000
    for channel, total in ((None, 30_000), (OUT, 15_000), (ERR, 15_000)):
        chunks = await everything(OutputLogs(root=tmp_path), 0, channel)
        assert chunks[0].data.startswith(b"001" if channel is OUT else b"000")
        assert chunks[-1].position_after == total
        assert joined(chunks)[-3:] == (b"098" if channel is ERR else b"099")
        assert sum(chunk.skipped for chunk in chunks) + len(joined(chunks)) == total
        assert sum(1 for chunk in chunks if chunk.skipped) == 1


async def test_followers_are_served_from_memory_before_anything_is_written(tmp_path: Path) -> None:
    log = OutputLog(folder=tmp_path / "sb", number=1)
    heard: list[bytes] = []

    async def follow() -> None:
        async for chunk in log.read():
            heard.append(chunk.data)

    async with anyio.create_task_group() as group:
        group.start_soon(follow)
        group.start_soon(follow)
        await checkpoint()
        await log.append(OUT, b"one")
        for _ in range(3):
            await checkpoint()
        assert heard == [b"one", b"one"]
        assert not (tmp_path / "sb").exists()
        await log.append(ERR, b"two")
        await log.finish()
    assert sorted(heard) == [b"one", b"one", b"two", b"two"]


async def test_memory_is_bounded_when_nobody_reads(tmp_path: Path) -> None:
    log = OutputLog(folder=tmp_path, number=1)
    piece = os.urandom(64 * 1024)
    for _ in range(200):
        await log.append(OUT, piece)
    assert log._unwritten_bytes <= 2 * 1024 * 1024
    await log.flush()
    assert log._written_bytes <= TAIL_BYTES + len(piece)
    assert log.tail() == piece[-TAIL_BYTES:]
    assert joined(await everything(log, 64 * 1024 * 199 + 5)) == piece[5:]


async def test_a_cancelled_write_is_written_once(tmp_path: Path) -> None:
    for after in range(6):
        log = OutputLog(folder=tmp_path / str(after), number=1)
        await log.append(OUT, b"once")
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(log.flush)
                for _ in range(after):
                    await checkpoint()
                scope.cancel()
        await log.finish()
        assert (tmp_path / str(after) / "1.log").read_bytes().count(b"once") == 1


async def test_logs_are_written_by_the_task_and_hold_no_files_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    async with OutputLogs(root=tmp_path) as logs:
        many = [logs.begin(f"sb{n}", 1) for n in range(100)]
        for log in many:
            await log.append(OUT, b"x")
        with anyio.fail_after(5):
            while len(list(tmp_path.glob("*/1.log"))) < 100:
                await anyio.sleep(0.005)  # waits on purpose: a thread writes
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 4
        await many[0].append(OUT, b"late")
    assert joined(await _read(tmp_path, "sb0")) == b"xlate"


async def _read(root: Path, sandbox_id: str) -> list[OutputChunk]:
    return [chunk async for chunk in OutputLogs(root=root).read(sandbox_id, 1)]


async def test_a_full_disk_does_not_stop_the_process(tmp_path: Path) -> None:
    (tmp_path / "sb").write_bytes(b"in the way")
    log = OutputLog(folder=tmp_path / "sb", number=1)
    await log.append(OUT, b"lost")
    await log.finish()
    assert log.finished
    assert log.tail() == b"lost"


async def test_the_tail_of_the_newest_log(tmp_path: Path) -> None:
    logs = OutputLogs(root=tmp_path)
    assert await logs.tail("sb") == b""
    log = logs.begin("sb", 12)
    await log.append(OUT, b"a" * 5000)
    await log.append(ERR, b"the end")
    await logs.finish("sb", 12)
    assert await logs.tail("sb", 10) == b"aaathe end"
    await logs.drop("sb")
    assert await logs.owned() == []
