"""Images out of a file: a tar of a root file system, such as somebody has uploaded."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from anyio import to_thread

from atoll.core.images import Image
from atoll.images.layers import BadLayer, Budget, unpack
from atoll.images.oci import BadImage
from atoll.images.store import ImageStore, making

_STEP = 1024 * 1024
# A tar says nothing of how it wants to be run.
_ABOUT: Mapping[str, object] = {}


async def load(store: ImageStore, name: str, archive: Path) -> Image:
    """An image of one layer, in the store as `name`. Raises `BadImage`."""
    async with making(store) as place:
        budget = await to_thread.run_sync(store.budget)
        digest = await to_thread.run_sync(lay, store, archive, place / "root", budget)
        return await to_thread.run_sync(store.add, name, "loaded from a tar", [digest], _ABOUT)


def lay(store: ImageStore, archive: Path, directory: Path, budget: Budget) -> str:
    """Unpack a tar into a new layer of the store; its digest. Blocks. Raises `BadImage`."""
    directory.mkdir(mode=0o755)
    plain = hashlib.sha256()
    with archive.open("rb") as file:

        def read() -> bytes:
            data = file.read(_STEP)
            plain.update(data)
            return data

        try:
            unpack(iter(read, b""), str(directory), budget)
        except BadLayer as error:
            raise BadImage(f"The file system cannot be unpacked: {error}.") from error
        while read():
            pass
    store.keep_layer(directory, plain.hexdigest())
    return plain.hexdigest()
