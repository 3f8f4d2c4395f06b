"""From an uploaded root file system to an image of the core.

Nobody trusts the file: what is an ext4 image is taken apart by debugfs in a sandbox of its own, and
comes out of it as a tar, whose layer is made with the care that every image gets.
"""

import gzip
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import anyio
from anyio import to_thread

from atoll.core.errors import InvalidRequest
from atoll.core.model import MIB, Limits, ProcessSpec
from atoll.dialects.rundatsheesh.imagerows import reference_of
from atoll.dialects.rundatsheesh.labels import DIALECT, SEED
from atoll.http.services import Services
from atoll.service.caller import Caller
from atoll.service.requests import CreateSandbox

# ext2, 3 and 4 say so at this place: ext4, "The Super Block", s_magic.
_MAGIC_AT, _MAGIC = 1080, b"\x53\xef"
_GZIP = b"\x1f\x8b"
_DUMP_S = 1800.0
_BLOCK = MIB
_ROOM_BYTES = 256 * MIB
_FILE, _TREE = "/workspace/rootfs", "/workspace/tree"


async def imported(
    services: Services, who: Caller, image_id: str, place: Path, most: Limits
) -> tuple[str, int]:
    """Make the image; what the core calls it, and its size. `InvalidRequest`."""
    kind = await to_thread.run_sync(_kind, place)
    name = reference_of(image_id)
    if kind == "tar":
        made = await services.images.load(who, name, str(place))
    else:
        unpacked = place.with_name("rootfs.tar")
        try:
            if kind == "ext":
                await _taken_apart(services, who, place, unpacked, most)
            else:
                await _unzipped(place, unpacked, most.disk_bytes)
            made = await services.images.load(who, name, str(unpacked))
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.Path(unpacked).unlink(missing_ok=True)
    return name, made.size_bytes


def _kind(place: Path) -> str:
    with place.open("rb") as file:
        head = file.read(_MAGIC_AT + len(_MAGIC))
    if head[_MAGIC_AT:] == _MAGIC:
        return "ext"
    return "tar.gz" if head.startswith(_GZIP) else "tar"


async def _unzipped(place: Path, target: Path, most: int) -> None:
    """Unpack gzip, as far as an image may be large."""

    def work() -> None:
        with gzip.open(place) as source, target.open("wb") as sink:
            left = most
            while block := source.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise InvalidRequest(f"Unpacked it is larger than {most} bytes.")
                sink.write(block)

    try:
        await to_thread.run_sync(work)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidRequest(f"The archive cannot be unpacked: {error}.") from None


async def _taken_apart(
    services: Services, who: Caller, place: Path, target: Path, most: Limits
) -> None:
    size = (await anyio.Path(place).stat()).st_size
    limits = replace(
        Limits(),
        disk_bytes=min(most.disk_bytes, 3 * size + _ROOM_BYTES),
        disk_files=min(most.disk_files, 1_000_000),
        cpus=min(most.cpus, 2.0),
    )
    box = await services.sandboxes.create(CreateSandbox(limits=limits, labels={DIALECT: SEED}), who)
    try:
        await services.files.write(who, box.id, _FILE, _blocks(place))
        spec = ProcessSpec(
            argv=("sh", "-c", f'mkdir {_TREE} && debugfs -R "rdump / {_TREE}" {_FILE}'),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            wall_s=_DUMP_S,
            cpu_s=_DUMP_S,
            keep_bytes=64 * 1024,
        )
        done = await services.processes.run(who, box.id, spec)
        chunks = services.files.pack(who, box.id, _TREE)
        found = 0
        async with aclosing(chunks), await anyio.open_file(target, "wb") as file:
            async for chunk in chunks:
                found += await file.write(chunk)
        if done.exit.code != 0 or found <= 10 * 1024:
            said = done.stderr.decode("utf-8", "replace").strip()[-300:]
            raise InvalidRequest(f"No files were found in the ext4 image: {said}")
    finally:
        with anyio.CancelScope(shield=True):
            await services.sandboxes.destroy(who, box.id)


async def _blocks(place: Path) -> AsyncGenerator[bytes, None]:
    async with await anyio.open_file(place, "rb") as file:
        while block := await file.read(_BLOCK):
            yield block
