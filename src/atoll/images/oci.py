"""Images from registries: skopeo brings the blobs, we check and unpack them.

A blob stays, by its digest, until its image is whole, so that a pull that was interrupted goes on
with what it has. Nothing of an image is believed: every blob and every unpacked layer must have the
digest that the manifest, or the configuration, gives it.
"""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
from anyio import to_thread

from atoll.core.errors import InvalidRequest, QuotaExceeded
from atoll.core.images import LAYERS_MAX, Image, Progress
from atoll.guest.forward import blocks
from atoll.images.layers import BadLayer, Budget, unpack
from atoll.images.reference import Reference
from atoll.images.store import ImageStore, making
from atoll.jail.host import tool

ASK_S = 60.0
COPY_S = 3600.0
_LOOK_S = 0.2
_JSON_MAX = 4 * 1024 * 1024
_STEP = 1024 * 1024
_ABOUT_MAX = 128 * 1024
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_POLICIES = ("/etc/containers/policy.json", "~/.config/containers/policy.json")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\0]*")

_NOT_ONE = (
    KeyError, IndexError, TypeError, ValueError, AttributeError, OSError, RecursionError,
)  # fmt: skip

Told = Callable[[Progress], None]


class BadImage(InvalidRequest):
    """An image that will not be used; the message says why."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, field="image")


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a manifest leads to: layers, the oldest first, as (blob, digest when unpacked)."""

    blobs: tuple[str, ...]
    layers: tuple[tuple[str, str], ...]
    about: Mapping[str, Any]


async def pull(store: ImageStore, name: str, source: Reference, told: Told) -> Image:
    """The image that `source` has in its registry now, in the store as `name`."""
    skopeo = await tool.need("skopeo", "skopeo")
    tls = ["--tls-verify=false"] if source.loopback else []
    told(Progress("asking", detail=source.name))
    raw = await tool.said(
        [skopeo, "inspect", "--raw", *tls, f"docker://{source.name}"], deadline_s=ASK_S
    )
    digest = hashlib.sha256(raw).hexdigest()
    origin = f"{source.registry}/{source.path}@sha256:{digest}"
    async with making(store) as place:
        # Nobody collects garbage meanwhile, so what is here stays until it has the name.
        for image in await to_thread.run_sync(store.all):
            if image.source == origin:
                await to_thread.run_sync(store.point, name, image.digest)
                return image
        budget = await to_thread.run_sync(store.budget)
        layout = place / "oci"
        await _copy([skopeo, "copy", *tls], origin, layout, store.blobs, budget, told)
        parts = await to_thread.run_sync(_parts, layout, store.blobs)
        await _unpack(store, place, parts, budget, told)
        digests = [layer for _, layer in reversed(parts.layers)]
        image = await to_thread.run_sync(store.add, name, origin, digests, parts.about)
        await to_thread.run_sync(_forget, store.blobs, parts.blobs)
    return image


async def _copy(
    command: list[str], origin: str, layout: Path, blobs: Path, budget: Budget, told: Told
) -> None:
    policy = [] if await to_thread.run_sync(_has_policy) else ["--insecure-policy"]
    argv = [
        *command, *policy, "--quiet", "--retry-times", "3", "--format", "oci",
        "--dest-shared-blob-dir", str(blobs), f"docker://{origin}", f"oci:{layout}:image",
    ]  # fmt: skip
    async with tool.running(argv, deadline_s=COPY_S) as process:
        while process.returncode is None:
            with anyio.move_on_after(_LOOK_S):
                await process.wait()
            size = await to_thread.run_sync(_size, blobs, layout)
            told(Progress("fetching", size, origin))
            if size > budget.bytes:
                raise QuotaExceeded(
                    f"The image is larger than the {budget.bytes} bytes left by image_bytes and "
                    "images_bytes; `atoll images gc` removes what interrupted pulls have left."
                )


async def _unpack(
    store: ImageStore, place: Path, parts: _Parts, budget: Budget, told: Told
) -> None:
    for number, (blob, layer) in enumerate(parts.layers, 1):
        what = f"layer {number} of {len(parts.layers)}"
        told(Progress("unpacking", budget.spent, what))
        await _stoppable(partial(_add, store, place / layer, (blob, layer), budget))


async def _stoppable(work: Callable[[threading.Event], None]) -> None:
    """Do it in a thread, which hears of a cancellation by the event and is waited for."""
    stop, busy = threading.Event(), threading.Lock()

    def guarded() -> None:
        with busy:
            if not stop.is_set():
                work(stop)

    try:
        await to_thread.run_sync(guarded, abandon_on_cancel=True)
    finally:
        stop.set()
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(busy.acquire)


def _add(
    store: ImageStore,
    directory: Path,
    digests: tuple[str, str],
    budget: Budget,
    stop: threading.Event,
) -> None:
    blob, layer = digests
    if not store.has_layer(layer):
        directory.mkdir(mode=0o755)
        _lay(store.blobs, blob, layer, directory, budget, stop)
        store.keep_layer(directory, layer)


def _lay(
    blobs: Path, blob: str, layer: str, directory: Path, budget: Budget, stop: threading.Event
) -> None:
    """Unpack a blob, and check both of its digests. `BadImage`."""
    packed, plain = hashlib.sha256(), hashlib.sha256()
    with (blobs / "sha256" / blob).open("rb") as file:

        def read() -> bytes:
            if stop.is_set():
                raise BadImage("It was not wanted any more.")
            data = file.read(_STEP)
            packed.update(data)
            return data

        def through() -> Iterator[bytes]:
            for block in blocks(read):
                plain.update(block)
                yield block

        try:
            unpack(through(), str(directory), budget)
        except (BadLayer, ValueError, EOFError) as error:
            raise BadImage(f"Layer {layer[:12]} cannot be unpacked: {error}.") from error
        while read():
            pass
    if packed.hexdigest() != blob or plain.hexdigest() != layer:
        raise BadImage(f"Layer {layer[:12]} is not what its digest says.")


def _parts(layout: Path, blobs: Path) -> _Parts:
    """Follow the layout that was fetched. `BadImage` for what is not a plain Linux image."""
    try:
        index = json.loads((layout / "index.json").read_bytes())
        manifest_digest = _hex(index["manifests"][0]["digest"])
        manifest = _document(blobs, manifest_digest)
        config_digest = _hex(manifest["config"]["digest"])
        config = _document(blobs, config_digest)
        packed = [_hex(each["digest"]) for each in manifest["layers"]]
        elsewhere = any(each.get("urls") for each in manifest["layers"])
        plain = [_hex(each) for each in config["rootfs"]["diff_ids"]]
        kinds = [str(each.get("mediaType", "")) for each in manifest["layers"]]
        about = _about(config.get("config") or {})
        system = config.get("os", "linux")
    except _NOT_ONE as error:
        raise BadImage(f"The image is not one that can be read: {error!r}.") from error
    if system != "linux":
        raise BadImage(f"The image is for {str(system)[:40]!r}, not for linux.")
    if elsewhere:
        raise BadImage("The image has layers that are not in its registry (`urls`).")
    if len(packed) != len(plain) or not plain:
        raise BadImage("The image's layers do not match its configuration.")
    if len(plain) > LAYERS_MAX:
        raise BadImage(f"The image has {len(plain)} layers; at most {LAYERS_MAX} can be mounted.")
    if any(not kind.endswith((".tar", "+gzip", ".gzip")) for kind in kinds):
        raise BadImage(f"Layers must be tar or gzip; there are {', '.join(sorted({*kinds}))}.")
    every = (manifest_digest, config_digest, *packed)
    return _Parts(every, tuple(zip(packed, plain, strict=True)), about)


def _document(blobs: Path, digest: str) -> dict[str, Any]:
    """A small blob of JSON, checked."""
    with (blobs / "sha256" / digest).open("rb") as file:
        data = file.read(_JSON_MAX + 1)
    if len(data) > _JSON_MAX or hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"blob {digest[:12]} is not what its digest says")
    value: object = json.loads(data)
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return cast("dict[str, Any]", value)


def _about(config: dict[str, Any]) -> Mapping[str, Any]:
    """What the image says of itself, as far as it makes sense."""
    said = json.dumps(config, ensure_ascii=False).encode()  # half a character is a ValueError
    if len(said) > _ABOUT_MAX:
        raise ValueError(f"it says more than {_ABOUT_MAX} bytes of itself")
    lines = [each for each in _texts(config.get("Env")) if _VARIABLE.fullmatch(each)]
    return {
        "env": dict(line.split("=", 1) for line in lines),
        "workdir": str(config.get("WorkingDir") or ""),
        "user": str(config.get("User") or ""),
        "entrypoint": _texts(config.get("Entrypoint")),
        "command": _texts(config.get("Cmd")),
    }


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, cast("list[object]", value))) if isinstance(value, list) else ()


def _hex(digest: object) -> str:
    found = _DIGEST.fullmatch(digest) if isinstance(digest, str) else None
    if found is None:
        raise ValueError(f"{str(digest)[:100]!r} is no SHA-256 digest")
    return found[1]


def _size(*places: Path) -> int:
    total = 0
    for place in places:
        for path in place.rglob("*"):
            with suppress(OSError):
                total += path.lstat().st_size
    return total


def _has_policy() -> bool:
    return any(Path(each).expanduser().exists() for each in _POLICIES)


def _forget(blobs: Path, digests: tuple[str, ...]) -> None:
    for digest in digests:
        (blobs / "sha256" / digest).unlink(missing_ok=True)
