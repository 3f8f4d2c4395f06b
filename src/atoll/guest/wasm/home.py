"""Where the paths that a command line names are.

In a sandbox with a root of its own they are what they seem. Where nothing can be mounted a sandbox
is a directory of the host, and its paths are looked up beneath that, whatever links lie there.
"""

import os
from collections.abc import Mapping

from atoll.wire import paths


class Home:
    """A sandbox whose root is this process's."""

    def __init__(self) -> None:
        self._root: int | None = None

    @property
    def root(self) -> int:
        """The root, for `wire.paths`."""
        if self._root is None:
            self._root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._root

    @property
    def cwd(self) -> str:
        """The working directory, as the sandbox knows it."""
        return os.getcwd()

    def enter(self, path: str) -> None:
        """Make it the working directory. Raises `OSError`, `BadPath`, `ValueError`."""
        os.chdir(path)

    def named(self, path: str) -> str:
        """What this process must call what is there."""
        return path

    def made(self, path: str) -> str:
        """The same for what it will make, following no link at its end."""
        return path


class Beneath(Home):
    """A sandbox beneath an open directory; `shown` are directories beside it, by name."""

    def __init__(self, root: int, shown: Mapping[str, int]) -> None:
        super().__init__()
        self._root = root
        self._shown = shown
        self._cwd = "/"

    @property
    def cwd(self) -> str:
        return self._cwd

    def enter(self, path: str) -> None:
        place = paths.clean(path)
        fd = paths.open_in(self.root, place, os.O_PATH | os.O_DIRECTORY)
        try:
            os.fchdir(fd)
        finally:
            os.close(fd)
        self._cwd = place

    def named(self, path: str) -> str:
        """By a descriptor, which stays open; "" for what is not there."""
        if path == ".":
            return path
        for name, fd in self._shown.items():
            if path == name or path.startswith(f"{name}/"):
                rest = paths.clean(path.removeprefix(name) or "/")
                return f"/proc/self/fd/{fd}{rest}"
        try:
            fd = paths.open_in(self.root, paths.clean(path, self._cwd), os.O_PATH)
        except (OSError, paths.BadPath):
            return ""
        return f"/proc/self/fd/{fd}"

    def made(self, path: str) -> str:
        head, _, last = paths.clean(path, self._cwd).rpartition("/")
        fd = paths.open_in(self.root, head or "/", os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{fd}/{last}"
