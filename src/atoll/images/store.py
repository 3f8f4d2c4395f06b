"""Images on the host's disk. Implements `core.ports.ImageRoots`; other processes may share it.

    images/<digest>.json   what an image is; whoever uses it holds a shared lock on the file
    names.json             {"name": "digest"}
    layers/<id>/           a layer, as overlayfs takes it; `<id>` begins its digest
    making/                layers and pulls that are not whole yet
    blobs/sha256/          what interrupted pulls have brought
    lock                   of whoever adds or collects

Every file is replaced whole, layers are renamed into their place, a name is the last thing written:
a crash leaves nothing but garbage.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import AsyncGenerator, Collection, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import anyio
from anyio import to_thread

from atoll.core.errors import BackendFault, Busy, NotFound, QuotaExceeded
from atoll.core.images import Collected, Image, split
from atoll.images.layers import Budget
from atoll.jail.host.trees import erase, sizes

_ID = 24
_DIGEST = re.compile("[0-9a-f]{64}")
_LAYER = re.compile(f"[0-9a-f]{{{_ID}}}")
_TEXTS = ("env", "workdir", "user", "entrypoint", "command")


@dataclass(frozen=True, slots=True)
class Room:
    """How many bytes one image, and all of them, may take on the disk."""

    image_bytes: int
    store_bytes: int


class ImageStore:
    """One directory of images. All methods block; call them in a thread."""

    def __init__(self, root: Path, room: Room) -> None:
        self._root = root
        self._room = room

    @property
    def layers(self) -> str:
        return str(self._root / "layers")

    @property
    def blobs(self) -> Path:
        """Where pulls keep what they have got."""
        return self._root / "blobs"

    def prepare(self) -> None:
        """Make the directories. Raises `OSError`."""
        for name in ("", "images", "layers", "making", "blobs/sha256"):
            (self._root / name).mkdir(parents=True, exist_ok=True)
        (self._root / "layers").chmod(0o755)

    # reading
    def names(self) -> Mapping[str, str]:
        """Every name, and the digest that it points at."""
        try:
            value: object = json.loads((self._root / "names.json").read_bytes())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise BackendFault("The names of images are damaged.") from error
        return cast("dict[str, str]", value) if isinstance(value, dict) else {}

    def get(self, digest: str) -> Image | None:
        """The image of that digest, without its names."""
        try:
            path = self._record(digest)
            return _image(json.loads(path.read_bytes()), path.stat().st_mtime)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise BackendFault(f"The record of image {digest[:12]} is damaged.") from error

    def all(self) -> Sequence[Image]:
        """Every image with its names, the newest last."""
        names = self.names()
        found: list[Image] = []
        for path in (self._root / "images").glob("*.json"):
            image = self.get(path.stem)
            if image is not None:
                own = tuple(sorted(name for name, digest in names.items() if digest == path.stem))
                found.append(replace(image, names=own))
        return sorted(found, key=lambda image: (image.created_at, image.digest))

    @contextlib.contextmanager
    def use(self, reference: str) -> Generator[Image, None, None]:
        name, digest = split(reference)
        digest = digest or self.names().get(name, "")
        try:
            fd = os.open(self._record(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound("image", reference) from None
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            image = self.get(digest) if os.fstat(fd).st_nlink else None
            if image is None:
                raise NotFound("image", reference)
            yield image
        finally:
            os.close(fd)

    # adding
    @contextlib.contextmanager
    def adding(self) -> Generator[Path, None, None]:
        """A directory for what is not whole yet, gone afterwards. `Busy`: one at a time."""
        with self._locked(fcntl.LOCK_EX, wait=False):
            place = self._root / "making" / secrets.token_hex(8)
            place.mkdir()
            try:
                yield place
            finally:
                erase(place)

    def budget(self) -> Budget:
        """What a new image may take. `QuotaExceeded` when there is no room at all."""
        used = sum({id_: size for image in self._sized() for id_, size in image.items()}.values())
        left = min(self._room.image_bytes, self._room.store_bytes - used)
        if left <= 0:
            raise QuotaExceeded(
                f"Images take {used} bytes of the {self._room.store_bytes} that they may: "
                "remove some with `atoll images rm` and `atoll images gc`."
            )
        return Budget(left)

    def has_layer(self, digest: str) -> bool:
        """Whether that layer is unpacked already."""
        return (self._root / "layers" / digest[:_ID]).is_dir()

    def keep_layer(self, directory: Path, digest: str) -> None:
        """Move an unpacked layer to its place, unless it is there."""
        with contextlib.suppress(FileExistsError, OSError):
            directory.rename(self._root / "layers" / digest[:_ID])
        if not self.has_layer(digest):
            raise BackendFault(f"Layer {digest[:12]} could not be stored.")

    def add(self, name: str, source: str, layers: Sequence[str], about: Mapping[str, Any]) -> Image:
        """Write an image down, of layers that are there, newest first, and name it."""
        identity = {"layers": list(layers), **{key: about.get(key) for key in _TEXTS}}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        ids = [layer[:_ID] for layer in layers]
        held = {each: sum(sizes(str(self._root / "layers" / each))) for each in ids}
        known = {key: about[key] for key in _TEXTS if about.get(key)}
        image = Image(
            digest=digest,
            source=source,
            layers=tuple(ids),
            size_bytes=sum(held.values()),
            created_at=0.0,
            **known,
        )
        os.sync()  # what the record says is there, is on the disk before it says so
        value = {**asdict(image), "held": held}
        del value["names"], value["created_at"]
        self._write(self._record(digest), value)
        self.point(name, digest)
        return replace(image, created_at=self._record(digest).stat().st_mtime)

    def point(self, name: str, digest: str) -> None:
        """Let a name mean that image from now on."""
        with self._locked(fcntl.LOCK_EX, "names.lock"):
            self._write(self._root / "names.json", {**self.names(), name: digest})

    def remove(self, name: str) -> None:
        """Forget a name. `NotFound` when nobody knows it."""
        with self._locked(fcntl.LOCK_EX, "names.lock"):
            names = dict(self.names())
            if names.pop(name, None) is None:
                raise NotFound("image", name)
            self._write(self._root / "names.json", names)

    # collecting
    def collect(self, used: Collection[str]) -> Collected:
        """Remove what nothing needs. `Busy` while an image is being made."""
        with self._locked(fcntl.LOCK_EX, wait=False):
            needed = {split(reference)[1] for reference in used} | {*self.names().values()}
            gone = [each.digest for each in self.all() if each.digest not in needed]
            gone = [digest for digest in gone if self._forget(digest)]
            layers = {layer for image in self._sized() for layer in image}
            freed = removed = 0
            for path in (self._root / "layers").iterdir():
                if path.name not in layers:
                    freed += sum(sizes(str(path)))
                    trash = self._root / "making" / secrets.token_hex(8)
                    path.rename(trash)
                    removed += 1
            for path in (self._root / "making").iterdir():
                erase(path)
            blobs = list((self.blobs / "sha256").iterdir())
            for path in blobs:
                freed += path.stat().st_size
                path.unlink()
        return Collected(tuple(gone), removed, len(blobs), freed)

    def _forget(self, digest: str) -> bool:
        """Remove the record of an image that nobody has open."""
        fd = os.open(self._record(digest), os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._record(digest).unlink()
        except BlockingIOError:
            return False
        finally:
            os.close(fd)
        return True

    def _sized(self) -> Sequence[Mapping[str, int]]:
        found: list[Mapping[str, int]] = []
        for path in (self._root / "images").glob("*.json"):
            with contextlib.suppress(FileNotFoundError):
                found.append(json.loads(path.read_bytes())["held"])
        return found

    @contextlib.contextmanager
    def _locked(
        self, how: int, name: str = "lock", *, wait: bool = True
    ) -> Generator[None, None, None]:
        fd = os.open(self._root / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, how if wait else how | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Busy("Another image is being made, or garbage collected.") from None
        finally:
            os.close(fd)

    def _record(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise NotFound("image", digest[:100])
        return self._root / "images" / f"{digest}.json"

    def _write(self, path: Path, value: Mapping[str, Any]) -> None:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        with temporary.open("x", encoding="utf-8") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


@contextlib.asynccontextmanager
async def making(store: ImageStore) -> AsyncGenerator[Path, None]:
    """`ImageStore.adding`, in threads."""
    with contextlib.ExitStack() as stack:
        place = await to_thread.run_sync(stack.enter_context, store.adding())
        try:
            yield place
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(stack.close)


def _image(value: dict[str, Any], created_at: float) -> Image:
    if not all(_LAYER.fullmatch(each) for each in value["layers"]):
        raise ValueError("a layer is no name of a directory of ours")
    return Image(
        digest=str(value["digest"]),
        source=str(value["source"]),
        layers=tuple(str(each) for each in value["layers"]),
        size_bytes=int(value["size_bytes"]),
        created_at=created_at,
        env={str(key): str(text) for key, text in value["env"].items()},
        workdir=str(value["workdir"]),
        user=str(value["user"]),
        entrypoint=tuple(str(each) for each in value["entrypoint"]),
        command=tuple(str(each) for each in value["command"]),
    )
