"""Images, for those who may see them and for admins who may change them."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Self

import anyio
from anyio.abc import TaskGroup

from atoll.core.errors import AtollError, Busy, Forbidden, NotFound, Unsupported
from atoll.core.images import HOST, Collected, Image, Progress
from atoll.core.ports import ImageNames, Images, LoadsImages
from atoll.core.store import Store
from atoll.service.audit import Audit
from atoll.service.caller import Caller

PULLS_MAX = 16
_PAGE = 200


class Pull:
    """An image on its way. It goes on when nobody listens."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.progress = Progress("waiting")
        self.image: Image | None = None
        self.error: AtollError | None = None
        self._changed = anyio.Event()

    @property
    def done(self) -> bool:
        """Whether there is an image, or an error."""
        return self.image is not None or self.error is not None

    def tell(self, progress: Progress) -> None:
        """Note how far it is."""
        self.progress = progress
        self._changed.set()
        self._changed = anyio.Event()

    async def follow(self) -> AsyncGenerator[Progress, None]:
        """What it is at, whenever that changes, until it is done."""
        seen: Progress | None = None
        while not self.done:
            changed = self._changed
            if self.progress != seen:
                seen = self.progress
                yield seen
            else:
                await changed.wait()


class ImagesOf(anyio.AsyncContextManagerMixin):
    """The use cases of images. Pulls run in a task group of its own while it is open."""

    def __init__(self, *, images: Images, names: ImageNames, store: Store, audit: Audit) -> None:
        self._images = images
        self._names = names
        self._store = store
        self._audit = audit
        self._pulls: dict[str, Pull] = {}
        self._group: TaskGroup | None = None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with anyio.create_task_group() as group:
            self._group = group
            try:
                yield self
            finally:
                self._group = None
                group.cancel_scope.cancel()

    def detect(self, argv: Sequence[str]) -> str:
        """The name of the image that a command is meant for, by its first word."""
        return self._names.detect(argv)

    async def list(self) -> Sequence[Image]:
        """Every image of the store, the newest last."""
        return await self._images.list()

    async def get(self, name: str) -> Image:
        """The image of that name or digest. `NotFound`."""
        for image in await self._images.list():
            known = (*image.names, image.digest, f"sha256:{image.digest}")
            if name in known or f"{name}:latest" in image.names:
                return image
        raise NotFound("image", name)

    def pull(self, caller: Caller, name: str) -> Pull:
        """Begin to pull, or find the pull of that name that has begun. For admins only."""
        _must_be_admin(caller)
        found = self._pulls.get(name)
        if found is not None:
            return found
        if self._group is None or len(self._pulls) >= PULLS_MAX:
            raise Busy("Too many images are being pulled.")
        pull = self._pulls[name] = Pull(name)
        self._group.start_soon(self._pull, caller, pull)
        return pull

    async def _pull(self, caller: Caller, pull: Pull) -> None:
        outcome = "cancelled"
        try:
            pull.image = await self._images.pull(pull.name, pull.tell)
            outcome = "ok"
        except AtollError as error:
            pull.error = error
            outcome = error.code
        finally:
            del self._pulls[pull.name]
            self._audit.record("image.pull", caller, outcome, None, image=pull.name)
            pull.tell(pull.progress)

    async def load(self, caller: Caller, name: str, archive: str) -> Image:
        """Make or update an image from a tar on the host. For admins only. `InvalidRequest`."""
        _must_be_admin(caller)
        if not isinstance(self._images, LoadsImages):
            raise Unsupported("The images of this server cannot be made from a file.")
        image = await self._images.load(name, archive)
        self._audit.record("image.load", caller, "ok", None, image=name)
        return image

    async def remove(self, caller: Caller, name: str) -> None:
        """Forget a name. For admins only. `NotFound`."""
        _must_be_admin(caller)
        await self._images.remove(name)
        self._audit.record("image.remove", caller, "ok", None, image=name)

    async def collect(self, caller: Caller) -> Collected:
        """Remove the images that nothing needs, and what pulls have left. For admins only."""
        _must_be_admin(caller)
        done = await self._images.collect(await references(self._store))
        self._audit.record("image.collect", caller, "ok", None, removed=len(done.images))
        return done


async def references(store: Store) -> frozenset[str]:
    """The images of all sandboxes that are not over, and of all snapshots."""
    found: set[str] = set()
    after: str | None = None
    while page := await store.list_sandboxes(after=after, limit=_PAGE):
        found.update(record.image for record in page)
        after = page[-1].id
    after = None
    while snapshots := await store.list_snapshots(after=after, limit=_PAGE):
        found.update(record.image for record in snapshots)
        after = snapshots[-1].id
    return frozenset(found - {HOST})


async def collected(images: Images, store: Store) -> Collected:
    """The same for the operator at the machine."""
    return await images.collect(await references(store))


def _must_be_admin(caller: Caller) -> None:
    if not caller.admin:
        raise Forbidden("Only an administrator changes the images of this server.")
