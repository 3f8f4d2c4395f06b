"""Layers and small images made in the test: a static busybox is a whole root file system."""

import hashlib
import io
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.core.images import Image
from atoll.images.layers import unpack
from atoll.images.store import ImageStore, Room

ROOM = Room(image_bytes=1 << 30, store_bytes=1 << 31)
Entry = tuple[str, bytes | str | None]


def tar(*entries: Entry | tarfile.TarInfo) -> bytes:
    """A layer: bytes are a file, a string is a symlink's target, None is a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            name, what = entry
            info = tarfile.TarInfo(name)
            info.mode = 0o755
            if what is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(what, str):
                info.type, info.linkname = tarfile.SYMTYPE, what
            else:
                info.size = len(what)
            archive.addfile(info, io.BytesIO(what) if isinstance(what, bytes) else None)
    return out.getvalue()


def special(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    """An entry that is neither a file, a directory nor a symlink."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.devmajor, info.devminor = kind, link, 1, 5
    return info


def busybox(*words: str) -> bytes:
    """A layer with busybox under those names, and little else."""
    program = shutil.which("busybox")
    assert program is not None
    links: list[Entry] = [(f"bin/{word}", "busybox") for word in words]
    return tar(("bin", None), ("bin/busybox", Path(program).read_bytes()), *links, ("etc", None))


def stored(
    store: ImageStore, name: str, layers: Sequence[bytes], about: Mapping[str, object] | None = None
) -> Image:
    """An image of those layers, the oldest first, put into the store."""
    digests: list[str] = []
    with store.adding() as place:
        budget = store.budget()
        for layer in layers:
            digest = hashlib.sha256(layer).hexdigest()
            directory = place / digest
            directory.mkdir(mode=0o755)
            unpack(iter([layer]), str(directory), budget)
            store.keep_layer(directory, digest)
            digests.insert(0, digest)
        return store.add(name, "test", digests, about or {})
