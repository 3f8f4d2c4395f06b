"""The files of kept sandboxes: stacks of layers on the host's disk.

    boxes/<sandbox id>.json   {"upper": L3, "layers": [L2, L1]}   the truth about a sandbox
    frozen/<snapshot id>.json {"layers": [L3, L2, L1]}            the truth about a snapshot
    layers/<L>/fs, work       directories of overlayfs
    packs/<sandbox id>.tar.gz  in place of the upper layer of one whose files are put away
    trash/                    layers on their way out

A snapshot freezes the upper layer and gives the sandbox a new one: two small files, whatever the
size. The sandbox's file is replaced first, so that a crash in between leaves one layer more and
never a snapshot that still changes.

Who shares which layer is known in memory, so that forgetting one of many costs as little as the
only one. What a crash leaves, layers that no file names, is collected at the start.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from atoll.core.errors import BackendFault, Conflict, NotFound
from atoll.jail.host.trees import erase, sizes

LAYERS_MAX = 100
_SKELETON = {"workspace": 0o755, "home": 0o755, "home/user": 0o755, "tmp": 0o1777, "run": 0o755,
             "run/secrets": 0o755,
             "var": 0o755, "var/tmp": 0o1777}  # fmt: skip


@dataclass(frozen=True)
class Stack:
    """What an overlay is mounted from: `upper` over `layers`, newest first."""

    upper: str
    layers: tuple[str, ...]


class Disk:
    """One directory of kept sandboxes. All methods block; call them in a thread.

    One call at a time, but for those that only read, and `empty`. `owner` is the host user that
    sandboxes' files belong to, None for our own.
    """

    def __init__(self, root: Path, owner: int | None) -> None:
        self._root = root
        self._owner = owner
        self._sharing: dict[str, set[str]] = {}
        self._damaged = False
        self._filling: set[str] = set()

    def prepare(self) -> None:
        """Make the directories, and learn who shares which layer. Raises `OSError`."""
        for name in ("boxes", "frozen", "layers", "packs", "trash"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        for name in ("", "layers"):
            (self._root / name).chmod(0o711)
        (self._root / "packs").chmod(0o700)
        for kind in ("boxes", "frozen"):
            for name in self.names(kind):
                try:
                    self._share(self._record(kind, name), self._load(kind, name))
                except BackendFault:
                    self._damaged = True

    def open(self, sandbox_id: str, base: str | None) -> Stack:
        """The stack of that sandbox, made from `base` when there is none yet."""
        found = self._load("boxes", sandbox_id)
        if found is not None:
            _check_here(sandbox_id, found)
            return Stack(found["upper"], tuple(found["layers"]))
        layers: tuple[str, ...] = ()
        if base is not None:
            frozen = self._load("frozen", base)
            if frozen is None:
                raise NotFound("snapshot", base)
            layers = tuple(frozen["layers"])
        stack = Stack(self._new_layer(skeleton=not layers), layers)
        self._save("boxes", sandbox_id, {"upper": stack.upper, "layers": list(layers)})
        return stack

    def freeze(self, sandbox_id: str, snapshot_id: str) -> None:
        """Make a snapshot of a closed sandbox. Raises `NotFound`, `Conflict` when it exists."""
        if self._load("frozen", snapshot_id) is not None:
            raise Conflict(f"There is a snapshot {snapshot_id} already.")
        found = self._load("boxes", sandbox_id)
        if found is None:
            raise NotFound("sandbox", sandbox_id)
        _check_here(sandbox_id, found)
        upper, layers = found["upper"], list(found["layers"])
        if any((self._root / "layers" / upper / "fs").iterdir()):
            layers = [upper, *layers]
            if len(layers) > LAYERS_MAX:
                raise Conflict(f"Sandbox {sandbox_id} is {LAYERS_MAX} snapshots deep; copy its "
                               "files into a new sandbox.")  # fmt: skip
            fresh = self._new_layer(skeleton=False)
            self._save("boxes", sandbox_id, {"upper": fresh, "layers": layers})
        self._save("frozen", snapshot_id, {"layers": layers})

    def drop(self, kind: str, name: str) -> None:
        """Forget a sandbox (`boxes`) or a snapshot (`frozen`), whatever is left of it.

        The layers that nobody else has wait in the trash for `empty`.
        """
        path = self._record(kind, name)
        found = None
        with contextlib.suppress(BackendFault):
            found = self._load(kind, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        if found is None:
            return
        if found.get("packed"):
            self.pack_of(name).unlink(missing_ok=True)
        # An upper layer is nobody else's: a snapshot gets it when its sandbox has a new one.
        unused = [found["upper"]] if "upper" in found else []
        for layer in found["layers"]:
            others = self._sharing.get(layer, set())
            others.discard(path)
            if not others:
                self._sharing.pop(layer, None)
                unused += [] if self._damaged else [layer]
        for layer in unused:
            self._discard(layer)

    # packs
    def pack_of(self, sandbox_id: str) -> Path:
        """Where the files of one are that is packed."""
        return self._root / "packs" / f"{sandbox_id}.tar.gz"

    def files_of(self, layer: str) -> Path:
        """The files of a layer."""
        return self._root / "layers" / layer / "fs"

    def to_pack(self, sandbox_id: str) -> tuple[Path, Path]:
        """The files of a closed sandbox, and where a pack of them can be made. `NotFound`."""
        found = self._load("boxes", sandbox_id)
        if found is None:
            raise NotFound("sandbox", sandbox_id)
        _check_here(sandbox_id, found)
        return self.files_of(found["upper"]), self._root / "packs" / f"{secrets.token_hex(6)}.part"

    def drop_pack(self, pack: str) -> None:
        """Forget one that took no place. Idempotent."""
        (self._root / "packs" / pack).unlink(missing_ok=True)

    def put_away(self, sandbox_id: str, pack: str) -> None:
        """Let a pack take the place of the files. A crash leaves the one or the other."""
        found = self._load("boxes", sandbox_id)
        if found is None:
            raise NotFound("sandbox", sandbox_id)
        made, place = self._root / "packs" / pack, self.pack_of(sandbox_id)
        try:
            with made.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(made, place)
        except FileNotFoundError:
            raise Conflict(f"There is no such pack of sandbox {sandbox_id}.") from None
        self._save("boxes", sandbox_id, {**found, "packed": True})
        self._discard(found["upper"])

    def fill(self, sandbox_id: str) -> str | None:
        """A new layer for the files of one that is packed, to be filled; None when it is not."""
        found = self._load("boxes", sandbox_id)
        if found is None or not found.get("packed"):
            return None
        layer = self._new_layer(skeleton=False)
        self._filling.add(layer)
        return layer

    def filled(self, sandbox_id: str, layer: str, *, whole: bool) -> None:
        """Let a filled layer take the place of the pack, or forget one that is not `whole`."""
        self._filling.discard(layer)
        found = self._load("boxes", sandbox_id) if whole else None
        if found is None or not found.get("packed"):
            self._discard(layer)
            return
        self._save("boxes", sandbox_id, {"upper": layer, "layers": found["layers"]})
        self.pack_of(sandbox_id).unlink(missing_ok=True)

    def names(self, kind: str) -> Sequence[str]:
        """Ids of all sandboxes or snapshots."""
        with contextlib.suppress(FileNotFoundError):
            place = self._root / kind
            return sorted(e.name[:-5] for e in os.scandir(place) if e.name.endswith(".json"))
        return []

    def has(self, kind: str, name: str) -> bool:
        """Whether that sandbox or snapshot exists."""
        return os.path.exists(self._record(kind, name))

    def collect(self) -> int:
        """Put the layers that nothing names into the trash; how many."""
        used: set[str] = set(self._filling)
        packs = set[str]()
        present = set(os.listdir(self._root / "layers"))
        for kind in ("boxes", "frozen"):
            for name in self.names(kind):
                found = self._load(kind, name) or {"layers": []}
                used.update(found["layers"])
                used.add(found.get("upper", ""))
                if found.get("packed"):
                    packs.add(self.pack_of(name).name)
        for name in set(os.listdir(self._root / "packs")) - packs:
            self.drop_pack(name)
        for name in present - used:
            self._discard(name)
        return len(present - used)

    def empty(self) -> None:
        """Delete what is in the trash, however long that takes."""
        for name in os.listdir(self._root / "trash"):
            erase(self._root / "trash" / name)

    def usage(self, layers: Sequence[str]) -> tuple[int, int]:
        """Bytes and files that those layers hold on disk."""
        total = count = 0
        for name in layers:
            for size in sizes(str(self._root / "layers" / name / "fs")):
                total += size
                count += 1
        return total, count

    def snapshot_layers(self, snapshot_id: str) -> Sequence[str]:
        """The layers of a snapshot. Raises `NotFound`."""
        found = self._load("frozen", snapshot_id)
        if found is None:
            raise NotFound("snapshot", snapshot_id)
        return list(found["layers"])

    def _new_layer(self, *, skeleton: bool) -> str:
        name = secrets.token_hex(6)
        place = self._root / "layers" / name
        for part in ("", "fs", "work"):
            (place / part).mkdir()
            (place / part).chmod(0o755 if part == "fs" else 0o711)
            self._give(place / part)
        for part, mode in _SKELETON.items() if skeleton else ():
            inner = place / "fs" / part
            inner.mkdir()
            inner.chmod(mode)
            self._give(inner)
        return name

    def _discard(self, layer: str) -> None:
        with contextlib.suppress(OSError):
            os.rename(self._root / "layers" / layer, self._root / "trash" / layer)

    def _share(self, path: str, record: Mapping[str, Any] | None) -> None:
        for layer in record["layers"] if record is not None else ():
            self._sharing.setdefault(layer, set()).add(path)

    def _give(self, path: Path) -> None:
        if self._owner is not None:
            os.chown(path, self._owner, self._owner)

    def _record(self, kind: str, name: str) -> str:
        if not name.replace("_", "").replace("-", "").isalnum():
            raise NotFound("sandbox", name)
        return str(self._root / kind / f"{name}.json")

    def _load(self, kind: str, name: str) -> dict[str, Any] | None:
        try:
            with open(self._record(kind, name), "rb") as file:
                value = json.load(file)
        except FileNotFoundError:
            return None
        except ValueError:
            value = None
        if not _is_record(value, upper=kind == "boxes"):
            raise BackendFault(f"The record of {name} is damaged.", sandbox_id=name)
        return cast("dict[str, Any]", value)

    def _save(self, kind: str, name: str, value: Mapping[str, Any]) -> None:
        path = self._record(kind, name)
        temporary = f"{path}.{secrets.token_hex(4)}"
        with open(temporary, "x", encoding="ascii") as file:
            json.dump(value, file)
        # Before the file, so that whatever fails, what the file names is not taken for unused.
        self._share(path, value)
        os.replace(temporary, path)


def _check_here(sandbox_id: str, found: Mapping[str, Any]) -> None:
    if found.get("packed"):
        raise Conflict(f"The files of sandbox {sandbox_id} are archived; restore them first.")


def _is_record(value: Any, *, upper: bool) -> bool:
    """Whether it names layers. What does not must not pass for a record that names none."""
    return (
        isinstance(value, dict)
        and isinstance(value.get("layers"), list)  # pyright: ignore[reportUnknownMemberType]
        and all(isinstance(name, str) for name in value["layers"])  # pyright: ignore[reportUnknownVariableType]
        and (not upper or isinstance(value.get("upper"), str))  # pyright: ignore[reportUnknownMemberType]
    )
