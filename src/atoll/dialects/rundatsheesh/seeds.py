"""A seed for each image: a snapshot of a VM in which nothing has happened yet.

They are made beside the requests, the first time that an image is used.
"""

from contextlib import suppress
from typing import Any

import anyio
import structlog

from atoll.core.errors import AtollError
from atoll.core.images import HOST
from atoll.core.records import SandboxRecord
from atoll.dialects.rundatsheesh.activity import Activity
from atoll.dialects.rundatsheesh.errors import SheeshError
from atoll.dialects.rundatsheesh.imagerows import ImageRows
from atoll.dialects.rundatsheesh.labels import DIALECT, OWN, SEED
from atoll.dialects.rundatsheesh.names import moment, snapshot_id
from atoll.dialects.rundatsheesh.wishes import ENV, IMAGE, KIND
from atoll.http.services import Services
from atoll.service.caller import Caller
from atoll.service.requests import CreateSandbox

_KIND = "image_seed"
_PAGE = 100
_LABEL_NONE = ""
_log = structlog.stdlib.get_logger(__name__)


class Seeds:
    """Makes what is missing, one at a time."""

    def __init__(self, services: Services, images: ImageRows, activity: Activity) -> None:
        self._services = services
        self._images = images
        self._activity = activity
        self._asked: set[str] = set()
        self._one = anyio.Lock()

    def want(self, who: Caller, image: str | None, *, anew: bool = False) -> None:
        """Have the seed of an image made, unless that was asked before."""
        key = image or _LABEL_NONE
        if anew:
            self._asked.discard(key)
        if key not in self._asked:
            self._asked.add(key)
            self._services.keeper.spawn(self._make, who, image)

    async def _make(self, who: Caller, image: str | None) -> None:
        try:
            async with self._one:
                await self._made(who, image)
        except AtollError as error:
            self._asked.discard(image or _LABEL_NONE)
            _log.warning("no seed", image=image, error=error.detail)
            with suppress(SheeshError):
                await self._row(image, seedStatus="failed", seedError=error.detail)

    async def _made(self, who: Caller, image: str | None) -> None:
        reference = HOST if image is None else await self._images.reference(image)
        if await self._known(who, image):
            return
        labels = {**OWN, KIND: _KIND} | ({} if image is None else {IMAGE: image})
        request = CreateSandbox(image=reference, env=ENV, labels={DIALECT: SEED})
        box: SandboxRecord | None = None
        try:
            box = await self._services.sandboxes.create(request, who)
            taken = await self._services.snapshots.take(who, box.id, labels=labels)
        finally:
            if box is not None:
                with anyio.CancelScope(shield=True):
                    await self._services.sandboxes.destroy(who, box.id)
        own = snapshot_id(taken.id)
        try:
            await self._row(image, seedStatus="ready", seedSnapshotId=own, seedError=None)
        except SheeshError:  # the image was deleted meanwhile
            await self._services.snapshots.drop(who, taken.id)
            return
        message = f"Image seed snapshot ready: {own}"
        await self._activity.note("snapshot.seed_ready", message, entity=("snapshot", own))

    async def _known(self, who: Caller, image: str | None) -> bool:
        after: str | None = None
        while True:
            page = await self._services.snapshots.list(who, after=after, limit=_PAGE)
            if any(
                each.labels.get(KIND) == _KIND and each.labels.get(IMAGE) == image for each in page
            ):
                return True
            if len(page) < _PAGE:
                return False
            after = page[-1].id

    async def _row(self, image: str | None, **fields: Any) -> None:  # noqa: ANN401 - JSON
        if image is not None:
            now = moment(self._services.clock.now())
            await self._images.change(image, seedUpdatedAt=now, **fields)
