"""Tar in and out: round trips, and what is refused."""

import gzip
import io
import tarfile
from collections.abc import AsyncGenerator, Iterable
from contextlib import suppress

import anyio
import pytest

from atoll.core.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded, TooLarge
from atoll.core.model import MIB, Limits
from atoll.core.ports import Backend, Sandbox, Settles
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import fresh, joined, names, program, read, run, stream

Entry = tuple[str, bytes, int, bytes | str]
"""Name, type, mode, and content or target."""

FILE, DIRECTORY, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
ODD = "odd \n\u00fc\udcff'"
ENTRIES: tuple[Entry, ...] = (
    ("d", DIRECTORY, 0o755, b""),
    ("d/empty", FILE, 0o600, b""),
    ("d/program", FILE, 0o755, b"#!/bin/sh\n"),
    ("d/up", LINK, 0o777, "../plain"),
    ("hollow", DIRECTORY, 0o700, b""),
    ("link", LINK, 0o777, "d/program"),
    ("plain", FILE, 0o644, bytes(range(256)) * 1000),
    ("x" * 200, FILE, 0o644, b"long"),
    (ODD, FILE, 0o644, b"odd"),
)
REFUSED: dict[str, Entry] = {
    "climbs": ("../planted", FILE, 0o644, b"x"),
    "climbs inside": ("d/../../planted", FILE, 0o644, b"x"),
    "is absolute": ("/tmp/planted", FILE, 0o644, b"x"),
    "links up": ("link", LINK, 0o777, "../planted"),
    "links far up": ("d/link", LINK, 0o777, "../../../../etc/passwd"),
    "links to an absolute path": ("link", LINK, 0o777, "/etc/passwd"),
    "links hard to an absolute path": ("link", HARD, 0o644, "/etc/passwd"),
    "links hard up": ("link", HARD, 0o644, "../planted"),
    "is a character device": ("device", tarfile.CHRTYPE, 0o666, b""),
    "is a block device": ("device", tarfile.BLKTYPE, 0o666, b""),
    "has a NUL-like climb": ("./../planted", FILE, 0o644, b"x"),
}


def pack(entries: Iterable[Entry]) -> bytes:
    """An archive of these, as a caller would send it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", errors="surrogateescape") as archive:
        for name, kind, mode, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = kind, mode, 1_700_000_000
            if isinstance(content, str):
                info.linkname = content
            else:
                info.size = len(content) if kind == FILE else 0
            archive.addfile(info, io.BytesIO(content if isinstance(content, bytes) else b""))
    return out.getvalue()


def unpack(data: bytes) -> dict[str, Entry]:
    """The entries of an archive, by name."""
    entries: dict[str, Entry] = {}
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        for info in archive:
            name = info.name.removeprefix("./").rstrip("/")
            source = archive.extractfile(info) if info.isreg() else None
            content = source.read() if source is not None else info.linkname or b""
            if name not in ("", "."):
                entries[name] = (name, info.type, info.mode & 0o777, content)
    return entries


class ArchiveCases(Cases):
    """`Files.pack` and `Files.unpack`."""

    async def test_archive_round_trip(self, box: Sandbox, place: str) -> None:
        count = await box.files.unpack(place, stream(pack(ENTRIES)))
        assert count == len(ENTRIES)
        packed = unpack(await joined(box.files.pack(place)))
        assert packed == {entry[0]: entry for entry in ENTRIES}

    @needs("processes")
    async def test_what_was_unpacked_is_there(self, box: Sandbox, place: str) -> None:
        await box.files.unpack(f"{place}/new/place", stream(pack(ENTRIES)))
        assert await read(box.files, f"{place}/new/place/plain") == bytes(range(256)) * 1000
        assert (await box.files.stat(f"{place}/new/place/d/program")).mode == 0o755
        assert (await box.files.stat(f"{place}/new/place/link")).target == "d/program"
        assert (await run(box, program(f"{place}/new/place/d/program"))).exit.code == 0

    async def test_compressed(self, box: Sandbox, place: str) -> None:
        data = gzip.compress(pack(ENTRIES))
        assert await box.files.unpack(place, stream(data)) == len(ENTRIES)
        assert await read(box.files, f"{place}/{ODD}") == b"odd"

    @pytest.mark.parametrize("why", REFUSED)
    async def test_whole_or_nothing(self, box: Sandbox, place: str, why: str) -> None:
        before = [("before", FILE, 0o644, b"x"), ("new/deep", FILE, 0o644, b"x")]
        with pytest.raises(InvalidRequest):
            await box.files.unpack(place, stream(pack([*before, REFUSED[why]])), whole=True)
        assert await names(box.files, place) == []
        assert await box.files.unpack(place, stream(pack(before)), whole=True) == len(before)

    async def test_whole(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/d/kept", b"kept")
        count = await box.files.unpack(place, stream(pack(ENTRIES)), whole=True)
        assert count == len(ENTRIES)
        assert await read(box.files, f"{place}/{ODD}") == b"odd"
        assert await read(box.files, f"{place}/d/kept") == b"kept"
        again = pack([("plain", FILE, 0o600, b"new")])
        assert await box.files.unpack(place, stream(again), whole=True) == 1
        assert await read(box.files, f"{place}/plain") == b"new"
        if isinstance(box.files, Settles):
            assert await box.files.settle() == 0

    async def test_whole_with_something_in_the_way(self, box: Sandbox, place: str) -> None:
        await box.files.mkdir(f"{place}/taken")
        data = pack([("a", FILE, 0o644, b"x"), ("taken", FILE, 0o644, b"x")])
        with pytest.raises((Conflict, InvalidRequest)):
            await box.files.unpack(place, stream(data), whole=True)
        assert await names(box.files, place) == ["taken"]

    async def test_in_small_pieces(self, box: Sandbox, place: str) -> None:
        data = pack(ENTRIES[:3])
        pieces = [data[at : at + 97] for at in range(0, len(data), 97)]
        assert await box.files.unpack(place, stream(*pieces)) == 3

    async def test_one_file(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/file", b"x", mode=0o640)
        packed = unpack(await joined(box.files.pack(f"{place}/file")))
        assert packed == {"file": ("file", FILE, 0o640, b"x")}

    async def test_an_empty_directory(self, box: Sandbox, place: str) -> None:
        assert unpack(await joined(box.files.pack(place))) == {}
        assert await box.files.unpack(place, stream(pack(()))) == 0

    async def test_what_is_not_there(self, box: Sandbox, place: str) -> None:
        with pytest.raises(NotFound):
            await joined(box.files.pack(f"{place}/missing"))

    async def test_older_files_are_replaced(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/plain", b"old")
        await box.files.write(f"{place}/kept", b"kept")
        await box.files.unpack(place, stream(pack([("plain", FILE, 0o600, b"new")])))
        assert await read(box.files, f"{place}/plain") == b"new"
        assert await read(box.files, f"{place}/kept") == b"kept"

    @pytest.mark.parametrize("why", REFUSED)
    async def test_refused(self, box: Sandbox, place: str, why: str) -> None:
        first, last = ("first", FILE, 0o644, b"1"), ("last", FILE, 0o644, b"2")
        data = pack([first, REFUSED[why], last])
        with pytest.raises(InvalidRequest):
            await box.files.unpack(f"{place}/in", stream(data))
        assert await read(box.files, f"{place}/in/first") == b"1"
        for path in (f"{place}/planted", "/tmp/planted", "/workspace/planted"):
            with pytest.raises(NotFound):
                await box.files.stat(path)
        assert "last" not in await names(box.files, f"{place}/in")

    async def test_no_entry_goes_through_a_link_of_the_archive(
        self, box: Sandbox, place: str
    ) -> None:
        await box.files.mkdir(f"{place}/outside")
        data = pack([("in", LINK, 0o777, "."), ("in/../../outside/planted", FILE, 0o644, b"x")])
        with pytest.raises(InvalidRequest):
            await box.files.unpack(f"{place}/d", stream(data))
        assert await names(box.files, f"{place}/outside") == []

    async def test_no_entry_goes_out_through_a_planted_link(self, box: Sandbox, place: str) -> None:
        await box.files.mkdir(f"{place}/outside")
        await box.files.mkdir(f"{place}/d")
        await run(box, program("ln", "-s", "../outside", f"{place}/d/link"))
        data = pack([("link/planted", FILE, 0o644, b"x")])
        with suppress(InvalidRequest):
            await box.files.unpack(f"{place}/d", stream(data))
        assert await names(box.files, f"{place}/outside") == []

    @pytest.mark.parametrize("size", [1, 100, 700, 1500])
    async def test_half_an_archive(self, box: Sandbox, place: str, size: int) -> None:
        data = pack([("file", FILE, 0o644, b"x" * 5000)])[:size]
        with pytest.raises(InvalidRequest):
            await box.files.unpack(place, stream(data))

    @pytest.mark.parametrize("data", [b"not a tar" * 200, b"\x1f\x8b\x08" + b"x" * 2000])
    async def test_what_is_no_archive(self, box: Sandbox, place: str, data: bytes) -> None:
        with pytest.raises(InvalidRequest):
            await box.files.unpack(place, stream(data))
        assert await names(box.files, place) == []

    @needs("limit:disk")
    async def test_a_bomb(self, backend: Backend) -> None:
        bomb = gzip.compress(pack([("big", FILE, 0o644, bytes(64 * MIB))]))
        async with backend.open(fresh(limits=Limits(disk_bytes=8 * MIB))) as box:
            await box.files.mkdir("d")
            with anyio.fail_after(10), pytest.raises((QuotaExceeded, TooLarge)):
                await box.files.unpack("d", stream(bomb))
            assert "big" not in await names(box.files, "d")
            await box.files.write("fine", b"x" * MIB)

    async def test_a_sender_that_breaks_off(self, box: Sandbox, place: str) -> None:
        data = pack([("first", FILE, 0o644, b"1"), ("half", FILE, 0o644, b"x" * 100_000)])

        async def broken() -> AsyncGenerator[bytes, None]:
            yield data[:50_000]
            raise RuntimeError("The sender is gone.")

        with anyio.fail_after(5), pytest.raises(RuntimeError, match="The sender is gone"):
            await box.files.unpack(place, broken())
        assert "half" not in await names(box.files, place)

    @pytest.mark.parametrize("lie", ["of a size below zero", "of headers of headers"])
    async def test_headers_that_lie(self, box: Sandbox, place: str, lie: str) -> None:
        liar = tarfile.TarInfo("liar")
        if lie == "of a size below zero":
            liar.size, again = -512, 1
        else:
            liar.type, liar.size, again = tarfile.GNUTYPE_LONGNAME, 2, 3000
        data = (liar.tobuf(tarfile.GNU_FORMAT) + b"a\0" + bytes(510)) * again
        with pytest.raises(InvalidRequest):
            await box.files.unpack(place, stream(data, pack([("last", FILE, 0o644, b"x")])))
        assert await names(box.files, place) == []
