"""Images of VMs: rows, the files that were uploaded for them, and which is the default."""

import shutil
import uuid
from collections.abc import AsyncIterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from atoll.core.records import DocumentRecord
from atoll.core.store import Store
from atoll.dialects.rundatsheesh.errors import SheeshError, bad
from atoll.dialects.rundatsheesh.names import moment
from atoll.service.clock import Clock

SPACE = "run-dat-sheesh.images"
_CHOICES = "run-dat-sheesh.choices"
_DEFAULT = "default-image"
BINARY_BYTES = 3 * 1024**3
_MOST = 200
_MARK = "img-"
Row = dict[str, Any]


class ImageRows:
    """Keeps rows, and uploads in a directory of each: a file is there whole, or as it was."""

    def __init__(self, store: Store, clock: Clock, root: Path) -> None:
        self._store = store
        self._clock = clock
        self._root = root

    async def create(self, name: str, description: str) -> Row:
        """A row without files."""
        if len(await self.list()) >= _MOST:
            raise bad(f"Too many images (max={_MOST})")
        now = self._clock.now()
        row: Row = {
            "id": f"{_MARK}{uuid.uuid4()}",
            "name": name,
            "description": description,
            "createdAt": moment(now),
            "kernelFilename": None,
            "rootfsFilename": None,
            "baseRootfsBytes": None,
            "kernelUploadedAt": None,
            "rootfsUploadedAt": None,
            "seedSnapshotId": None,
            "seedStatus": "pending",
            "seedUpdatedAt": None,
            "seedError": None,
        }
        await self._store.put_document(DocumentRecord(SPACE, row["id"], "", now, row))
        return row

    async def get(self, image_id: str) -> Row:
        """One row. 404."""
        found = await self._store.get_document(SPACE, image_id)
        if found is None:
            raise SheeshError(404, "Image not found")
        return dict(found.body)

    async def change(self, image_id: str, **fields: object) -> Row:
        """Write some of its fields. 404."""
        found = await self._store.get_document(SPACE, image_id)
        if found is None:
            raise SheeshError(404, "Image not found")
        body = {**found.body, **fields}
        await self._store.put_document(replace(found, body=body))
        return body

    async def list(self) -> list[Row]:
        """All of them, the oldest first, as clients see them."""
        found = await self._store.list_documents(SPACE, limit=_MOST)
        default = await self.default()
        rows = sorted((each.body for each in found), key=lambda row: str(row["createdAt"]))
        return [
            {
                **row,
                "isDefault": row["id"] == default,
                "hasKernel": row["kernelUploadedAt"] is not None,
                "hasRootfs": row["rootfsUploadedAt"] is not None,
            }
            for row in rows
        ]

    async def default(self) -> str | None:
        """The id of the image of VMs that name none; None is the host's own programs."""
        found = await self._store.get_document(_CHOICES, _DEFAULT)
        return None if found is None else str(found.body["image"])

    async def set_default(self, image_id: str) -> None:
        """Make it the default. 404; 400 while it has no root file system."""
        _with_root(await self.get(image_id))
        now = self._clock.now()
        await self._store.put_document(
            DocumentRecord(_CHOICES, _DEFAULT, "", now, {"image": image_id})
        )

    async def drop(self, image_id: str) -> None:
        """Forget it and its files. 404."""
        await self.get(image_id)
        if await self.default() == image_id:
            await self._store.drop_document(_CHOICES, _DEFAULT)
        await self._store.drop_document(SPACE, image_id)
        await to_thread.run_sync(lambda: shutil.rmtree(self._root / image_id, ignore_errors=True))

    async def chosen(self, wanted: str | None) -> str | None:
        """The image of a VM: what it names, or the default. 400."""
        image_id = wanted or await self.default()
        if image_id is not None:
            try:
                _with_root(await self.get(image_id))
            except SheeshError as error:
                raise bad(error.detail) from None
        return image_id

    async def reference(self, image_id: str) -> str:
        """What the core calls it."""
        row = await self.get(image_id)
        reference: str | None = row.get("reference")
        if reference is None:
            raise bad("Image has no rootfs")
        return reference

    def place(self, image_id: str, name: str) -> Path:
        """Where a file of it is kept."""
        return self._root / image_id / name

    async def store(self, image_id: str, name: str, data: AsyncIterable[bytes]) -> Path:
        """Keep a file of it, in the place of an earlier one. `SheeshError` 413."""
        await self.get(image_id)
        place = self.place(image_id, name)
        await to_thread.run_sync(lambda: place.parent.mkdir(parents=True, exist_ok=True))
        half = place.with_suffix(f".{uuid.uuid4().hex}")
        size = 0
        try:
            async with await anyio.open_file(half, "xb") as file:
                async for chunk in data:
                    size += len(chunk)
                    if size > BINARY_BYTES:
                        raise SheeshError(413, "Body too large")
                    await file.write(chunk)
            if not size:
                raise bad("Body is empty")
            await anyio.Path(half).replace(place)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.Path(half).unlink(missing_ok=True)
        return place

    async def uploaded(self, image_id: str, kind: str, filename: str, **more: object) -> None:
        """Say in the row that a kernel or a root file system is there."""
        now = moment(self._clock.now())
        fields: Mapping[str, object] = {
            f"{kind}Filename": filename, f"{kind}UploadedAt": now, **more
        }  # fmt: skip
        await self.change(image_id, **fields)


def reference_of(image_id: str) -> str:
    """The name of an image of ours in the core's store."""
    return f"run-dat-sheesh/{image_id}:latest"


def _with_root(row: Row) -> None:
    if row["rootfsUploadedAt"] is None:
        raise bad("Image has no rootfs")
