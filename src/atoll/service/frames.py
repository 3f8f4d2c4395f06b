"""The file format of an output log. Everything here blocks: call it from a thread.

A log is a sequence of segments, `<number>.log` and then `<number>-<base>.log`, so that its middle
can be cut by deleting a file. A segment is a header (magic, then how many bytes came before it,
of both channels and of stdout) and frames (kind, length, checksum, bytes). The frame `END` says
that the log is complete. What follows the first bad frame was torn by a crash and is ignored.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from atoll.core.model import Channel
from atoll.service.requests import OutputChunk

FRAME_BYTES = 64 * 1024

_MAGIC = b"ATOLLOG1"
_HEADER = struct.Struct("<8sQQ")
_FRAME = struct.Struct("<BII")
_KINDS = {Channel.STDOUT: 1, Channel.STDERR: 2}
_CHANNELS = {kind: channel for channel, kind in _KINDS.items()}
_END = 3


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes of one channel, and how many of all channels and of stdout came before them."""

    before: int
    stdout_before: int
    channel: Channel
    data: bytes

    def starts_at(self, channel: Channel | None) -> int:
        """Its position among all bytes, or among those of one channel."""
        return _count(self.before, self.stdout_before, channel)


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a log."""

    path: Path
    before: int
    stdout_before: int

    def starts_at(self, channel: Channel | None) -> int:
        """The position of its first byte."""
        return _count(self.before, self.stdout_before, channel)


@dataclass(frozen=True, slots=True)
class Piece:
    """What one read found. `finished` when nothing will ever come after it."""

    chunks: Sequence[OutputChunk]
    finished: bool


def _count(before: int, stdout_before: int, channel: Channel | None) -> int:
    if channel is None:
        return before
    return stdout_before if channel is Channel.STDOUT else before - stdout_before


def cut(kept: Kept, position: int, channel: Channel | None) -> OutputChunk | None:
    """The part of it from a position on; None when there is none or it is another channel's."""
    if channel is not None and kept.channel is not channel:
        return None
    start = kept.starts_at(channel)
    end = start + len(kept.data)
    if end <= position:
        return None
    data = kept.data[position - start :] if position > start else kept.data
    return OutputChunk(end, kept.channel, data, skipped=max(0, start - position))


def segment_path(folder: Path, number: int, before: int) -> Path:
    """Where the segment that begins at a position is kept."""
    return folder / (f"{number}-{before}.log" if before else f"{number}.log")


def segments(folder: Path, number: int) -> list[Segment]:
    """All segments of a log, in order. One with a torn header is the last, and left out."""
    paths = [folder / f"{number}.log", *folder.glob(f"{number}-*.log")]
    found: list[Segment] = []
    for path in paths:
        try:
            with path.open("rb") as file:
                header = file.read(_HEADER.size)
        except FileNotFoundError:
            continue
        if len(header) == _HEADER.size and header.startswith(_MAGIC):
            _, before, stdout_before = _HEADER.unpack(header)
            found.append(Segment(path, before, stdout_before))
    return sorted(found, key=lambda segment: segment.before)


def _frame(kind: int, data: bytes) -> bytes:
    return _FRAME.pack(kind, len(data), zlib.crc32(data, kind)) + data


def _merged(batch: Sequence[Kept]) -> Iterator[tuple[Channel, bytes]]:
    """Neighbours of the same channel as one, up to the largest frame."""
    parts: list[bytes] = []
    size = 0
    for index, kept in enumerate(batch):
        parts.append(kept.data)
        size += len(kept.data)
        after = batch[index + 1] if index + 1 < len(batch) else None
        if (
            after is None
            or after.channel is not kept.channel
            or size + len(after.data) > FRAME_BYTES
        ):
            yield kept.channel, b"".join(parts)
            parts, size = [], 0


def append(path: Path, batch: Sequence[Kept], *, before: int, stdout_before: int, end: bool) -> int:
    """Append to a segment, making it when it is not there; its size afterwards."""
    frames = b"".join(_frame(_KINDS[channel], data) for channel, data in _merged(batch))
    if end:
        frames += _frame(_END, b"")
    try:
        file = path.open("ab")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        if file.tell() == 0:
            frames = _HEADER.pack(_MAGIC, before, stdout_before) + frames
        file.write(frames)
        return file.tell()


def _frames(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The good frames of a segment, from its header on."""
    file.seek(_HEADER.size)
    while len(head := file.read(_FRAME.size)) == _FRAME.size:
        kind, length, checksum = _FRAME.unpack(head)
        if length > FRAME_BYTES:
            return
        data = file.read(length)
        if len(data) != length or zlib.crc32(data, kind) != checksum:
            return
        yield kind, data


def read(
    folder: Path, number: int, *, position: int, channel: Channel | None, budget: int
) -> Piece:
    """What is on disk from a position on, up to about `budget` bytes."""
    found = segments(folder, number)
    chunks: list[OutputChunk] = []
    at, used = position, 0
    for index, segment in enumerate(found):
        if index + 1 < len(found) and found[index + 1].starts_at(channel) <= at:
            continue
        before, stdout_before = segment.before, segment.stdout_before
        try:
            file = segment.path.open("rb")
        except FileNotFoundError:
            continue
        with file:
            for kind, data in _frames(file):
                if kind == _END:
                    return Piece(chunks, finished=True)
                kept = Kept(before, stdout_before, _CHANNELS[kind], data)
                before += len(data)
                stdout_before += len(data) if kept.channel is Channel.STDOUT else 0
                chunk = cut(kept, at, channel)
                if chunk is None:
                    continue
                chunks.append(chunk)
                at, used = chunk.position_after, used + len(chunk.data)
                if used >= budget:
                    return Piece(chunks, finished=False)
    return Piece(chunks, finished=False)


def repair(folder: Path, number: int) -> None:
    """Cut off what a crash tore, and mark the log complete. Idempotent."""
    found = segments(folder, number)
    if not found:
        return
    known = {segment.path for segment in found}
    for path in folder.glob(f"{number}-*.log"):
        if path not in known:
            path.unlink(missing_ok=True)
    with found[-1].path.open("r+b") as file:
        good, ended = _HEADER.size, False
        for kind, data in _frames(file):
            good += _FRAME.size + len(data)
            ended = kind == _END
        if not ended:
            file.truncate(good)
            file.seek(good)
            file.write(_frame(_END, b""))
