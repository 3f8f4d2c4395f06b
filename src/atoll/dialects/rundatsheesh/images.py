"""The routes of images."""

import re
import zipfile
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import IO, Any

import anyio
from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import AtollError, NotFound
from atoll.dialects.rundatsheesh import rootfs, snapshotting
from atoll.dialects.rundatsheesh.bodies import CREATE_BYTES, IMAGE, read
from atoll.dialects.rundatsheesh.errors import SheeshError, bad
from atoll.dialects.rundatsheesh.imagerows import BINARY_BYTES
from atoll.dialects.rundatsheesh.labels import notes
from atoll.dialects.rundatsheesh.names import snapshot_of
from atoll.dialects.rundatsheesh.state import State, done, reply, state
from atoll.dialects.rundatsheesh.who import admitted
from atoll.service.caller import Caller

router = APIRouter(prefix="/v1/images")
_BLOCK = 1024 * 1024
_ENTRIES_MAX = 1000
_KERNEL = re.compile(r"(vmlinux|bzImage|kernel)[^/]*", re.IGNORECASE)
_ROOTFS = re.compile(r"[^/]*(rootfs[^/]*|\.ext4|\.tar|\.tar\.gz|\.tgz)", re.IGNORECASE)


@router.get("")
async def list_images(request: Request) -> Response:
    """List them."""
    await admitted(request)
    return reply(await state(request).images.list())


@router.post("", status_code=201)
async def create_image(request: Request) -> Response:
    """Make a row, for files to come."""
    body = await read(request, IMAGE, CREATE_BYTES)
    await admitted(request)
    here = state(request)
    row = await here.images.create(body["name"], body.get("description", ""))
    await _note(here, "image.created", "Image created", row["id"])
    return reply(row, 201)


@router.put("/{image}/kernel", status_code=204)
async def put_kernel(request: Request, image: str) -> Response:
    """Keep a kernel: backends with virtual machines boot it, the others share the host's."""
    here, _ = state(request), await admitted(request)
    await here.images.store(image, "kernel", request.stream())
    await here.images.uploaded(image, "kernel", _filename(request, "vmlinux"))
    await _note(here, "image.kernel_uploaded", "Image kernel uploaded", image)
    return done()


@router.put("/{image}/rootfs", status_code=204)
async def put_rootfs(request: Request, image: str) -> Response:
    """Make a root file system of an ext4 image or a tar."""
    here, who = state(request), await admitted(request)
    place = await here.images.store(image, "rootfs", request.stream())
    await _rootfs(here, who, image, place, _filename(request, "rootfs.ext4"))
    await _note(here, "image.rootfs_uploaded", "Image rootfs uploaded", image)
    return done()


@router.put("/{image}/bundle", status_code=204)
async def put_bundle(request: Request, image: str) -> Response:
    """Take both out of a zip file."""
    here, who = state(request), await admitted(request)
    place = await here.images.store(image, "bundle", request.stream())
    try:
        kernel, root = await to_thread.run_sync(_chosen, place)
        await here.images.store(image, "kernel", _member(place, kernel))
        await here.images.uploaded(image, "kernel", PurePosixPath(kernel).name)
        unpacked = await here.images.store(image, "rootfs", _member(place, root))
        await _rootfs(here, who, image, unpacked, PurePosixPath(root).name)
    except zipfile.BadZipFile as error:
        raise bad(f"Invalid bundle: {error}") from None
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.Path(place).unlink(missing_ok=True)
    await _note(here, "image.bundle_uploaded", "Image bundle uploaded", image)
    return done()


@router.post("/{image}/set-default", status_code=204)
async def set_default(request: Request, image: str) -> Response:
    """Make it the image of VMs that name none."""
    here, _ = state(request), await admitted(request)
    await here.images.set_default(image)
    await _note(here, "image.default_set", "Default image set", image)
    return done()


@router.delete("/{image}", status_code=204)
async def delete_image(request: Request, image: str) -> Response:
    """Forget one that nothing uses."""
    here, who = state(request), await admitted(request)
    row = await here.images.get(image)
    vms = [each for each in await here.machines.all(who) if notes(each.labels).image == image]
    snapshots = await snapshotting.listed(here, who, "user")
    if vms or any(each.get("imageId") == image for each in snapshots):
        raise SheeshError(409, "Image is in use")
    await _forget_seed(here, who, row)
    await here.images.drop(image)
    if row.get("reference") is not None:
        await here.services.images.remove(here.services.keys.administrator(), row["reference"])
    await _note(here, "image.deleted", "Image deleted", image)
    return done()


async def _rootfs(here: State, who: Caller, image: str, place: Path, filename: str) -> None:
    """Make the core's image of it, and a seed in the background."""
    row = await here.images.get(image)
    try:
        reference, size = await rootfs.imported(
            here.services, who, image, place, here.front.settings.max_limits
        )
    except AtollError as error:
        await anyio.Path(place).unlink(missing_ok=True)
        raise bad(f"Invalid rootfs: {error.detail}") from None
    await anyio.Path(place).unlink(missing_ok=True)  # its files are a layer of the core's now
    await _forget_seed(here, who, row)
    await here.images.uploaded(
        image, "rootfs", filename, baseRootfsBytes=size, reference=reference,
        seedStatus="pending", seedSnapshotId=None,
    )  # fmt: skip
    here.seeds.want(who, image, anew=True)


async def _forget_seed(here: State, who: Caller, row: dict[str, Any]) -> None:
    own = snapshot_of(row["seedSnapshotId"] or "")
    if own is not None:
        try:
            await here.services.snapshots.drop(who, own)
        except NotFound:
            return


def _filename(request: Request, usual: str) -> str:
    name = request.headers.get("x-filename") or request.query_params.get("filename") or usual
    return PurePosixPath(name).name[:200] or usual


def _chosen(place: Path) -> tuple[str, str]:
    """The names of the kernel and of the root file system in a bundle."""
    with zipfile.ZipFile(place) as bundle:
        found = bundle.infolist()
        if len(found) > _ENTRIES_MAX:
            raise bad(f"Invalid bundle: more than {_ENTRIES_MAX} entries")
        names = [each.filename for each in found if not each.is_dir()]
    picked: list[str] = []
    for what, shape in (("kernel", _KERNEL), ("rootfs", _ROOTFS)):
        fits = [name for name in names if shape.fullmatch(PurePosixPath(name).name)]
        if len(fits) != 1:
            raise bad(f"Invalid bundle: expected one {what}, found {len(fits)}")
        picked.append(fits[0])
    return picked[0], picked[1]


def _opened(stack: ExitStack, place: Path, name: str) -> IO[bytes]:
    return stack.enter_context(stack.enter_context(zipfile.ZipFile(place)).open(name))


async def _member(place: Path, name: str) -> AsyncGenerator[bytes, None]:
    """A file of a bundle, unpacked as it is read; no more of it than an upload may have."""
    with ExitStack() as stack:
        file = await to_thread.run_sync(_opened, stack, place, name)
        size = 0
        while block := await to_thread.run_sync(file.read, _BLOCK):
            size += len(block)
            if size > BINARY_BYTES:
                raise SheeshError(413, "Body too large")
            yield block


async def _note(here: State, kind: str, message: str, image: str) -> None:
    await here.activity.note(kind, f"{message}: {image}", entity=("image", image))
