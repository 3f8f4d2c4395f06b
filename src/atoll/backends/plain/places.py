"""Sandboxes' directories on the host.

kept/<sandbox id>    those of persistent sandboxes
fresh/<sandbox id>   those that end with their sandbox
drafts/, trash/      not there yet, and on their way out
"""

import contextlib
import os
import secrets
from pathlib import Path

from atoll.core.errors import NotFound
from atoll.jail.host.trees import erase, sizes

_SKELETON = {"workspace": 0o755, "home": 0o755, "home/user": 0o755, "tmp": 0o1777, "run": 0o755,
             "var": 0o755, "var/tmp": 0o1777}  # fmt: skip
_KINDS = ("kept", "fresh")


class Places:
    """All methods block; call them in a thread. `owner` is the host user the files belong to."""

    def __init__(self, root: Path, owner: int | None) -> None:
        self._root = root
        self._owner = owner

    def prepare(self) -> None:
        """Make the directories, and discard what a server that was killed has left."""
        for name in (*_KINDS, "drafts", "trash"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
            (self._root / name).chmod(0o700)
        for name in ("fresh", "drafts"):
            for left in os.listdir(self._root / name):
                self._discard(self._root / name / left)

    def open(self, sandbox_id: str, *, kept: bool) -> int:
        """A descriptor of the sandbox's root, which is made when there is none."""
        place = self._place("kept" if kept else "fresh", sandbox_id)
        if not place.exists():
            draft = self._root / "drafts" / secrets.token_hex(8)
            for name, mode in {"": 0o755, **_SKELETON}.items():
                inner = draft / name
                inner.mkdir()
                inner.chmod(mode)
                if self._owner is not None:
                    os.chown(inner, self._owner, self._owner)
            draft.rename(place)
        return os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def drop(self, sandbox_id: str, *kinds: str) -> None:
        """Forget it; its files wait in the trash for `empty`."""
        for kind in kinds or _KINDS:
            with contextlib.suppress(NotFound):
                self._discard(self._place(kind, sandbox_id))

    def names(self) -> list[str]:
        """Ids of all that have a directory."""
        found: set[str] = set()
        for kind in _KINDS:
            with contextlib.suppress(FileNotFoundError):
                found.update(os.listdir(self._root / kind))
        return sorted(found)

    def empty(self) -> None:
        """Delete what is in the trash."""
        for name in os.listdir(self._root / "trash"):
            erase(self._root / "trash" / name)

    def usage(self, sandbox_id: str) -> tuple[int, int]:
        """Bytes and files that a sandbox holds."""
        total = count = 0
        for kind in _KINDS:
            for size in sizes(str(self._root / kind / sandbox_id)):
                total += size
                count += 1
        return total, max(0, count - len(_SKELETON))

    def _place(self, kind: str, sandbox_id: str) -> Path:
        if not sandbox_id.replace("_", "").replace("-", "").isalnum():
            raise NotFound("sandbox", sandbox_id)
        return self._root / kind / sandbox_id

    def _discard(self, place: Path) -> None:
        with contextlib.suppress(OSError):
            place.rename(self._root / "trash" / secrets.token_hex(8))
