"""A file that is only read onwards, out of blocks that arrive, for `tarfile` to read from.

`tarfile` can read such streams by itself, at less than half the speed, since it copies each byte
several times on the way.
"""

import os
import zlib
from collections.abc import Callable, Iterator

_GZIP = b"\x1f\x8b"
_WINDOW = 31  # zlib: the largest window, with a gzip header
_STEP = 256 * 1024


def blocks(read: Callable[[], bytes]) -> Iterator[bytes]:
    """The blocks that `read` gives until b"", unpacked when they are gzip.

    Raises `EOFError` for gzip that is cut short, `ValueError` for gzip that is broken.
    """
    first = read()
    while first and len(first) < len(_GZIP):
        more = read()
        if not more:
            break
        first += more
    if first.startswith(_GZIP):
        yield from _unzipped(first, read)
        return
    while first:
        yield first
        first = read()


def _unzipped(data: bytes, read: Callable[[], bytes]) -> Iterator[bytes]:
    unzip = zlib.decompressobj(_WINDOW)
    while data:
        try:
            out = unzip.decompress(data, _STEP)
        except zlib.error as error:
            raise ValueError(f"broken gzip: {error}") from error
        if out:
            yield out
        data = unzip.unconsumed_tail
        if unzip.eof:
            data = (unzip.unused_data or read()).lstrip(b"\0")
            if data:
                unzip = zlib.decompressobj(_WINDOW)
                continue
            return
        data = data or read()
    raise EOFError("gzip cut short")


class Forward:
    """What `tarfile` needs of a file: read, tell, and seek onwards (or one byte back)."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source
        self._block = memoryview(b"")
        self._at = 0
        self._before = 0

    def tell(self) -> int:
        """The number of bytes read or passed over."""
        return self._before + self._at

    def some(self, size: int) -> memoryview:
        """At most `size` bytes, at least one unless it is the end. Valid until the next call."""
        if self._at == len(self._block):
            self._before += self._at
            self._block, self._at = memoryview(next(self._source, b"")), 0
        part = self._block[self._at : self._at + size]
        self._at += len(part)
        return part

    def read(self, size: int) -> bytes:
        """`size` bytes, fewer only at the end."""
        parts: list[bytes] = []
        while size > 0:
            part = self.some(size)
            if not part:
                break
            parts.append(bytes(part))
            size -= len(part)
        return b"".join(parts)

    def copy(self, position: int, size: int, fd: int) -> bool:
        """Write `size` bytes from a position on to a file; False when there are fewer."""
        self.seek(position)
        while size:
            part = self.some(size)
            if not part:
                return False
            size -= len(part)
            while part:
                part = part[os.write(fd, part) :]
        return True

    def seek(self, position: int) -> int:
        """Pass over what lies between. `ValueError` for a place that is gone."""
        while position > self.tell():
            if not self.some(position - self.tell()):
                break
        if position < self._before:
            raise ValueError("cannot go back")
        self._at = min(position - self._before, len(self._block))
        return self.tell()
