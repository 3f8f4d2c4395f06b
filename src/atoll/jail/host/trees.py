"""Directories of guests' files on the host: what they hold, and their end."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from atoll.wire import paths


def erase(path: Path) -> None:
    """Remove a tree whatever modes its directories have; what cannot go now goes next time."""
    with contextlib.suppress(OSError):
        if os.geteuid() != 0:
            _open_up(path)
        above = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Not shutil's: what a guest has made may be deeper than Python's stack.
            paths.remove_tree(above, path.name)
        finally:
            os.close(above)


def _open_up(path: Path) -> None:
    """Let the owner into every directory, each before it is listed."""
    pending = [str(path)]
    while pending:
        directory = pending.pop()
        with contextlib.suppress(OSError):
            os.chmod(directory, 0o700)
            with os.scandir(directory) as entries:
                pending += [one.path for one in entries if one.is_dir(follow_symlinks=False)]


def sizes(path: str) -> Iterator[int]:
    """Bytes on disk of everything beneath a directory, one by one."""
    pending = [path]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    yield found.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
