"""What is in a file: round trips, ranges, replacement at once, preconditions, big ones."""

import hashlib
import random
import resource
from collections.abc import AsyncGenerator

import anyio
import pytest

from atoll.core.errors import Conflict, InvalidRequest, NotFound, PreconditionFailed, QuotaExceeded
from atoll.core.model import MIB, FileKind, Limits
from atoll.core.ports import Backend, Sandbox
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import fresh, joined, names, program, read, run, stream

TINY = Limits(disk_bytes=8 * MIB)
HUNDRED = 100
GROWTH_KIB = 64 * 1024


async def _broken() -> AsyncGenerator[bytes, None]:
    yield b"half" * 10_000
    raise RuntimeError("The sender is gone.")


async def _stuck() -> AsyncGenerator[bytes, None]:
    yield b"half" * 10_000
    await anyio.sleep_forever()


class ContentCases(Cases):
    """`Files.read` and `Files.write`."""

    @pytest.mark.parametrize(
        "data", [b"", b"x", b"\0", b"\r\n\n", bytes(range(256)) * 8, b"\xff\xfe" * 40_000]
    )
    async def test_round_trip(self, box: Sandbox, place: str, data: bytes) -> None:
        stat = await box.files.write(f"{place}/file", data)
        assert (stat.kind, stat.size, stat.mode) == (FileKind.FILE, len(data), 0o644)
        assert await read(box.files, f"{place}/file") == data
        assert await box.files.stat(f"{place}/file") == stat
        assert (await run(box, program("cat", f"{place}/file"))).stdout == data

    async def test_megabytes(self, box: Sandbox, place: str) -> None:
        data = random.Random(9).randbytes(5 * MIB + 1)  # noqa: S311 - not a secret
        await box.files.write(f"{place}/file", data)
        assert await read(box.files, f"{place}/file") == data

    async def test_a_stream_is_written_in_order(self, box: Sandbox, place: str) -> None:
        blocks = [b"one", b"", b"two" * 100_000, b"three"]
        stat = await box.files.write(f"{place}/file", stream(*blocks))
        assert stat.size == len(b"".join(blocks))
        assert await read(box.files, f"{place}/file") == b"".join(blocks)

    async def test_ranges(self, box: Sandbox, place: str) -> None:
        data = bytes(range(256)) * 1000
        path = f"{place}/file"
        await box.files.write(path, data)
        for offset, length in ((0, 10), (5, 0), (255_990, 100), (256_000, 10), (300_000, None)):
            end = None if length is None else offset + length
            assert await read(box.files, path, offset=offset, length=length) == data[offset:end]
        assert await read(box.files, path, offset=100_000) == data[100_000:]

    async def test_a_range_is_not_negative(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/file", b"x")
        with pytest.raises(InvalidRequest):
            await read(box.files, f"{place}/file", offset=-1)
        with pytest.raises(InvalidRequest):
            await read(box.files, f"{place}/file", length=-1)

    async def test_a_reader_may_leave(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/file", b"x" * 2 * MIB)
        for _ in range(5):
            reading = box.files.read(f"{place}/file")
            assert await anext(reading)
            await reading.aclose()
        assert len(await read(box.files, f"{place}/file")) == 2 * MIB

    async def test_modes(self, box: Sandbox, place: str) -> None:
        for mode in (0o600, 0o644, 0o755, 0o444, 0o777):
            stat = await box.files.write(f"{place}/{mode:o}", b"", mode=mode)
            assert stat.mode == mode
            assert (await box.files.stat(f"{place}/{mode:o}")).mode == mode

    async def test_missing_parents_are_made(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/a/b/c", b"deep")
        assert await read(box.files, f"{place}/a/b/c") == b"deep"
        assert (await box.files.stat(f"{place}/a/b")).kind is FileKind.DIRECTORY

    async def test_what_is_no_file(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/file", b"")
        with pytest.raises(NotFound):
            await read(box.files, f"{place}/missing")
        with pytest.raises(InvalidRequest):
            await read(box.files, place)
        with pytest.raises(InvalidRequest):
            await box.files.write(place, b"")
        with pytest.raises((InvalidRequest, Conflict)):
            await box.files.write(f"{place}/file/below", b"")
        with pytest.raises((InvalidRequest, NotFound)):
            await read(box.files, f"{place}/file/below")

    async def test_what_a_program_wrote_is_read(self, box: Sandbox, place: str) -> None:
        await run(box, program("sh", "-c", f"printf 'a\\0b' > {place}/file"))
        assert await read(box.files, f"{place}/file") == b"a\0b"

    async def test_readers_see_the_old_or_the_new(self, box: Sandbox, place: str) -> None:
        path = f"{place}/file"
        contents = [bytes([letter]) * 300_000 for letter in b"AB"]
        await box.files.write(path, contents[0])
        over = anyio.Event()

        async def reader() -> None:
            while not over.is_set():
                data = await read(box.files, path)
                assert data in contents, "a file was half written"
                seen = (await run(box, program("cat", path))).stdout
                assert seen in contents, "a program saw half a file"

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reader)
            for count in range(30):
                await box.files.write(path, stream(contents[count % 2]))
            over.set()

    async def test_a_broken_stream_changes_nothing(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/file", b"old")
        with pytest.raises(RuntimeError, match="The sender is gone"):
            await box.files.write(f"{place}/file", _broken())
        with pytest.raises(RuntimeError, match="The sender is gone"):
            await box.files.write(f"{place}/new", _broken())
        assert await read(box.files, f"{place}/file") == b"old"
        assert await names(box.files, place) == ["file"]

    async def test_a_cancelled_write_changes_nothing(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/file", b"old")
        for name in ("file", "new"):
            with anyio.move_on_after(0.1) as scope:
                await box.files.write(f"{place}/{name}", _stuck())
            assert scope.cancelled_caught
        assert await read(box.files, f"{place}/file") == b"old"
        assert await names(box.files, place) == ["file"]

    async def test_two_writers_do_not_mix(self, box: Sandbox, place: str) -> None:
        contents = [bytes([letter]) * 200_000 for letter in b"ABCD"]
        async with anyio.create_task_group() as tasks:
            for content in contents:
                tasks.start_soon(box.files.write, f"{place}/file", content)
        assert await read(box.files, f"{place}/file") in contents
        assert await names(box.files, place) == ["file"]

    async def test_the_etag_follows_the_content(self, box: Sandbox, place: str) -> None:
        path = f"{place}/file"
        old = await box.files.write(path, b"same size 1")
        assert (await box.files.stat(path)).etag == old.etag
        new = await box.files.write(path, b"same size 2")
        assert new.etag != old.etag
        await anyio.sleep(0.02)
        await run(box, program("sh", "-c", f"echo changed >> {path}"))
        changed = await box.files.stat(path)
        assert changed.etag != new.etag
        assert changed.mtime_ns > new.mtime_ns

    async def test_if_match(self, box: Sandbox, place: str) -> None:
        path = f"{place}/file"
        for wrong in ("*", '"0-0-0"'):
            with pytest.raises(PreconditionFailed):
                await box.files.write(path, b"x", if_match=wrong)
        assert await names(box.files, place) == []
        old = await box.files.write(path, b"1", if_match="")
        with pytest.raises(PreconditionFailed):
            await box.files.write(path, b"x", if_match="")
        new = await box.files.write(path, b"2", if_match=old.etag)
        with pytest.raises(PreconditionFailed):
            await box.files.write(path, b"x", if_match=old.etag)
        assert await read(box.files, path) == b"2"
        await box.files.write(path, b"3", if_match="*")
        with pytest.raises(PreconditionFailed):
            await box.files.write(path, b"x", if_match=new.etag)

    @pytest.mark.parametrize("attempt", range(8))
    async def test_only_one_of_many_creators_wins(
        self, box: Sandbox, place: str, attempt: int
    ) -> None:
        won: list[bytes] = []

        async def create(data: bytes) -> None:
            try:
                await box.files.write(f"{place}/{attempt}", stream(data), if_match="")
            except PreconditionFailed:
                return
            won.append(data)

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(create, b"%d" % number)
        assert [await read(box.files, f"{place}/{attempt}")] == won

    @needs("limit:disk")
    @pytest.mark.parametrize("persistent", [False, True])
    async def test_a_full_disk_leaves_no_half_file(
        self,
        backend: Backend,
        persistent: bool,  # noqa: FBT001
    ) -> None:
        spec = fresh(limits=TINY, persistent=persistent)
        async with backend.open(spec) as box:
            await box.files.write("old", b"old")
            for path in ("new", "old"):
                with pytest.raises(QuotaExceeded):
                    await box.files.write(path, stream(*[b"x" * MIB] * 32))
            assert await names(box.files, "/workspace") == ["old"]
            assert await read(box.files, "old") == b"old"
            await box.files.write("small", b"x" * MIB)
            assert len(await read(box.files, "small")) == MIB
        await backend.destroy(spec.id)

    @needs("shell")
    @pytest.mark.slow
    async def test_a_hundred_megabytes_pass_through(self, box: Sandbox, place: str) -> None:
        block = random.Random(10).randbytes(MIB)  # noqa: S311 - not a secret
        sent, received = hashlib.sha256(), hashlib.sha256()

        async def blocks() -> AsyncGenerator[bytes, None]:
            for number in range(HUNDRED):
                piece = number.to_bytes(8, "big") + block[8:]
                sent.update(piece)
                yield piece

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        stat = await box.files.write(f"{place}/big", blocks())
        assert stat.size == HUNDRED * MIB
        async for piece in box.files.read(f"{place}/big"):
            received.update(piece)
        assert received.digest() == sent.digest()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH_KIB
        last = await joined(box.files.read(f"{place}/big", offset=(HUNDRED - 1) * MIB, length=8))
        assert last == (HUNDRED - 1).to_bytes(8, "big")
        await box.files.remove(f"{place}/big")
