"""A file that appears only when it is whole."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from atoll.client.trees import CHUNK

Progress = Callable[[int], None]
"""Called with the number of bytes that have just gone by."""


class Spool:
    """Written beside its target, then renamed onto it."""

    def __init__(self, target: Path) -> None:
        self._target = target
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:64]}.", dir=target.parent)
        self._path = Path(name)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, data: bytes) -> None:
        """Add to the end."""
        self._file.write(data)

    def settle(self) -> None:
        """Let it appear, with the mode that a plain new file would have."""
        self._file.close()
        mask = os.umask(0o077)
        os.umask(mask)
        self._path.chmod(0o666 & ~mask)
        self._path.replace(self._target)

    def discard(self) -> None:
        """Remove what was written, if it has not settled."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def pieces(path: Path, progress: Progress | None) -> Iterator[bytes]:
    """A local file, piece by piece."""
    with path.open("rb") as file:
        yield from counted(iter(lambda: file.read(CHUNK), b""), progress)


def counted(chunks: Iterator[bytes], progress: Progress | None) -> Iterator[bytes]:
    """The same chunks, telling their sizes as they go by."""
    for chunk in chunks:
        yield chunk
        if progress is not None:
            progress(len(chunk))
