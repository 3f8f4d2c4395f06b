"""Makes everything in a sandbox's groups stand still, by the kernel's freezer.

With cgroup v2 a group has a switch of its own. With v1 the freezer is a hierarchy beside the
others, which costs nothing until it is used: what is in the sandbox is moved there when it is to be
frozen, again and again until no process is left outside; what is moved in stands still at once.
"""

import contextlib
import os
from pathlib import Path

import anyio
from anyio import to_thread

from atoll.core.errors import BackendFault
from atoll.jail.cgroups import Hierarchy

_LOOK_S = 0.005
_LOOKS = 2000


class Freezer:
    """Of one sandbox."""

    def __init__(self, hierarchy: Hierarchy, name: str) -> None:
        base = hierarchy.freezer
        self._place = None if base is None else base / name
        self._one = hierarchy.version == 1
        self._members = [base / name / "cgroup.procs" for base in set(hierarchy.bases.values())]

    @property
    def there(self) -> bool:
        """Whether this host can freeze."""
        return self._place is not None

    async def freeze(self) -> None:
        """Returns when everything stands still. `BackendFault` when that cannot be had."""
        try:
            await to_thread.run_sync(lambda: self._switch(on=True))
            for _ in range(_LOOKS):
                if await to_thread.run_sync(self._still):
                    return
                await anyio.sleep(_LOOK_S)
        except OSError as error:
            raise BackendFault(f"The sandbox cannot be frozen: {error.strerror}.") from error
        raise BackendFault("The sandbox does not stand still.")

    def thaw(self) -> None:
        """Let it go on. Nothing when it is not frozen, or gone. Blocks, for a moment."""
        with contextlib.suppress(OSError):
            self._switch(on=False)

    def _switch(self, *, on: bool) -> None:
        if self._place is None:
            raise FileNotFoundError("this host has no freezer")
        if not self._one:
            (self._place / "cgroup.freeze").write_text("1" if on else "0")
            return
        if on:
            self._place.mkdir(exist_ok=True)
        (self._place / "freezer.state").write_text("FROZEN" if on else "THAWED")

    def _still(self) -> bool:
        if self._place is None:
            return False
        if not self._one:
            return "frozen 1" in (self._place / "cgroup.events").read_text()
        strays = self._outside()
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                (self._place / "cgroup.procs").write_text(str(pid))
        return not strays and (self._place / "freezer.state").read_text() == "FROZEN\n"

    def _outside(self) -> set[int]:
        """Processes of the sandbox that are not yet in the freezer."""
        inside = _pids(self._place / "cgroup.procs") if self._place is not None else set[int]()
        return set[int]().union(*map(_pids, self._members)) - inside


def thaw_all(hierarchy: Hierarchy) -> None:
    """Let go on, and so die, what a killed server left frozen."""
    if hierarchy.freezer is None or hierarchy.version != 1:
        return
    with contextlib.suppress(OSError):
        for entry in os.scandir(hierarchy.freezer):
            if entry.is_dir():
                Freezer(hierarchy, entry.name).thaw()


def _pids(path: Path) -> set[int]:
    with contextlib.suppress(FileNotFoundError):
        return {pid for pid in map(int, path.read_text().split()) if pid}
    return set()
