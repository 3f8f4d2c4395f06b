"""The audit log as a file: real files, rotated, emptied, torn, full."""

import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from atoll.core.chain import GENESIS, Head, extend
from atoll.core.records import Event
from atoll.service import journal as module
from atoll.service.audit_check import Verdict, check_files
from atoll.service.journal import Journal, line, link

pytestmark = pytest.mark.anyio

EMPTY = Head()
BLANK = Event(at=1.5, tenant="reef", actor="a\udcff\0", action="run", outcome="ok")


def events(count: int, after: Head = EMPTY) -> list[Event]:
    return extend(after, [replace(BLANK, detail={"n": str(n)}) for n in range(count)])


async def until(met: Callable[[], bool]) -> None:
    with anyio.fail_after(20):
        while not met():
            await anyio.sleep(0.01)  # waits on purpose: the file's own task writes it


@asynccontextmanager
async def writing(path: Path) -> AsyncGenerator[Callable[[Sequence[Event]], Awaitable[None]]]:
    """A journal, and a way to have it write something now."""
    async with Journal(path) as journal:

        async def write(some: Sequence[Event]) -> None:
            journal.offer(some)
            await until(lambda: not journal.stats()["waiting"])

        yield write


def checked(*files: Path, heads: Sequence[Head] = ()) -> Verdict:
    return check_files(files, heads)


async def test_lines_are_events_and_follow_each_other(tmp_path: Path) -> None:
    path, some = tmp_path / "a.jsonl", events(5)
    async with writing(path) as write:
        await write(some[:2])
        await write(some[2:])
    lines = [json.loads(each) for each in path.read_text().splitlines()]
    assert [each["hash"] for each in lines] == [event.hash for event in some]
    assert [each["follows"] for each in lines] == [GENESIS, *[each["link"] for each in lines[:-1]]]
    assert lines[0]["actor"] == BLANK.actor
    assert path.stat().st_mode & 0o777 == 0o600
    verdict = checked(path, heads=[Head(5, some[4].hash), Head(2, some[1].hash)])
    assert (verdict.fault, verdict.count, verdict.notes) == (None, 5, ())


async def test_what_is_offered_last_is_written_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    async with Journal(path) as journal:
        journal.offer(events(1200))
    assert checked(path).count == 1200


async def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    path, some = tmp_path / "a.jsonl", events(4)
    for piece in (some[:1], some[1:3], some[3:]):
        async with writing(path) as write:
            await write(piece)
    assert checked(path) == Verdict(4, Head(4, some[3].hash))


async def test_a_renamed_file_is_left_and_a_new_one_begun(tmp_path: Path) -> None:
    path, old, some = tmp_path / "a.jsonl", tmp_path / "a.jsonl.1", events(4)
    async with writing(path) as write:
        await write(some[:2])
        path.rename(old)
        await write(some[2:])
    assert checked(old, path).notes == ()
    assert checked(old, path).count == 4
    (note,) = checked(path).notes
    assert "begins with event 3" in note
    wrong = checked(path, old).fault
    assert wrong is not None
    assert wrong.seq == 1


async def test_a_file_that_was_emptied_is_gone_on_with(tmp_path: Path) -> None:
    path, copy, some = tmp_path / "a.jsonl", tmp_path / "copy", events(4)
    async with writing(path) as write:
        await write(some[:2])
        copy.write_bytes(path.read_bytes())
        os.truncate(path, 0)
        await write(some[2:])
    assert checked(copy, path).count == 4
    assert checked(copy, path).fault is None


async def test_half_a_line_of_a_crash_is_cut_off(tmp_path: Path) -> None:
    path, some = tmp_path / "a.jsonl", events(3)
    async with writing(path) as write:
        await write(some[:2])
    with path.open("ab") as file:
        file.write(line(some[2], "x")[0][:40])
    cut = checked(path).fault
    assert cut is not None
    assert (cut.seq, cut.what) == (3, "is cut short")
    async with writing(path) as write:
        await write(some[2:])
    assert checked(path).fault is None


async def test_two_servers_do_not_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    async with writing(path) as write:
        await write(events(1))
        async with Journal(path) as other:
            await until(lambda: other.failure is not None)
            assert other.failure == "another server writes to it"


@pytest.mark.parametrize("kind", ["directory", "pipe", "link"])
async def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.jsonl"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(tmp_path / "elsewhere")
    async with Journal(path) as journal:
        await until(lambda: journal.failure is not None)
    assert not (tmp_path / "elsewhere").exists()


async def test_a_failing_file_loses_the_oldest_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    folder = tmp_path / "not yet"
    path, some = folder / "a.jsonl", events(10)
    async with Journal(path, capacity=4) as journal:
        journal.offer(some)
        await until(lambda: journal.failure is not None)
        assert journal.failure == "No such file or directory"
        assert journal.stats() == {"lost": 6, "waiting": 4, "failing": 1}
        folder.mkdir()
        await until(lambda: not journal.stats()["waiting"])
        assert journal.stats() == {"lost": 6, "waiting": 0, "failing": 0}
    assert checked(path).count == 4


async def test_an_error_leaves_no_half_of_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    path, some = tmp_path / "a.jsonl", events(4)
    write, full = os.write, [3]

    def filling(fd: int, data: bytes) -> int:
        if full[0] and len(data) > 300:
            full[0] -= 1
            if full[0] % 2:
                raise OSError(28, "No space left on device")
            return write(fd, data[:100])
        return write(fd, data)

    async with writing(path) as offer:
        await offer(some[:1])
        monkeypatch.setattr(os, "write", filling)
        await offer(some[1:])
    assert checked(path).count == 4
    assert checked(path).fault is None


def tampered(path: Path, change: Callable[[list[bytes]], object]) -> tuple[int, str]:
    lines = path.read_bytes().splitlines(keepends=True)
    change(lines)
    path.write_bytes(b"".join(lines))
    fault = checked(path).fault
    assert fault is not None
    return fault.seq, fault.what


@pytest.fixture
async def written(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    async with writing(path) as write:
        await write(events(6))
    return path


async def test_a_changed_line(written: Path) -> None:
    def change(lines: list[bytes]) -> None:
        lines[2] = lines[2].replace(b'"ok"', b'"no"')

    assert tampered(written, change) == (3, "was changed: its hash is of something else")


async def test_a_removed_line(written: Path) -> None:
    seq, what = tampered(written, lambda lines: lines.pop(2))
    assert (seq, "removed" in what) == (3, True)


async def test_a_removed_line_with_the_next_one_patched(written: Path) -> None:
    def change(lines: list[bytes]) -> None:
        gone, after = json.loads(lines.pop(2)), json.loads(lines[2])
        after["follows"] = gone["follows"]
        after["link"] = link(after["follows"], after["hash"])
        lines[2] = json.dumps(after).encode() + b"\n"

    seq, _ = tampered(written, change)
    assert seq == 5, "line 4 fits now, but the one behind it was written after another"


async def test_a_file_cannot_begin_anew_in_the_middle(written: Path) -> None:
    def change(lines: list[bytes]) -> None:
        del lines[2]
        after = json.loads(lines[2])
        after["follows"] = GENESIS
        after["link"] = link(GENESIS, after["hash"])
        lines[2] = json.dumps(after).encode() + b"\n"

    assert tampered(written, change)[0] == 3


async def test_swapped_and_repeated_lines(written: Path) -> None:
    whole = written.read_bytes()

    def swap(lines: list[bytes]) -> None:
        lines[2], lines[3] = lines[3], lines[2]

    assert tampered(written, swap)[0] == 3
    written.write_bytes(whole)
    assert tampered(written, lambda lines: lines.insert(3, lines[2]))[0] == 3


async def test_what_is_no_event(written: Path) -> None:
    whole = written.read_bytes()
    for junk in (b"junk\n", b"[]\n", b'{"seq":true}\n', b"[" * 100_000 + b"\n", b"\xff\n", b"\n"):
        written.write_bytes(whole + junk)
        fault = checked(written).fault
        assert fault is not None
        assert (fault.seq, fault.what) == (7, "is no event")


async def test_a_cut_off_end_shows_against_a_head(written: Path) -> None:
    head = checked(written).head
    lines = written.read_bytes().splitlines(keepends=True)
    written.write_bytes(b"".join(lines[:4]))
    assert checked(written).fault is None
    fault = checked(written, heads=[head]).fault
    assert fault is not None
    assert (fault.seq, "cut off" in fault.what) == (5, True)


async def test_another_servers_events_are_no_fault(tmp_path: Path) -> None:
    path, some = tmp_path / "a.jsonl", events(6)
    async with writing(path) as write:
        await write([some[0], some[1], some[4]])
    verdict = checked(path)
    assert verdict.fault is None
    assert verdict.notes == (
        "Events 3 to 4 are not in it: another server's, or the file could not be written then.",
    )
