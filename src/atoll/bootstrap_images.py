"""The images' part of bootstrap, for the command line too, beside a running server."""

from pathlib import Path

import structlog

from atoll.core.errors import AtollError, Unavailable
from atoll.core.images import Collected
from atoll.images import languages as language_table
from atoll.images import table as image_table
from atoll.images.catalog import ImageCatalog, Sources
from atoll.images.store import ImageStore, Room
from atoll.service.images import collected
from atoll.service.pool import Shape, Warm
from atoll.settings import Settings, SettingsError
from atoll.storage import SqlStore

_log = structlog.stdlib.get_logger(__name__)


def image_store(settings: Settings) -> ImageStore:
    """Where images are. Nothing is made."""
    room = Room(settings.image_bytes, settings.images_bytes)
    return ImageStore(settings.data_dir / "images", room)


def served_images(settings: Settings) -> ImageCatalog:
    """The same for a server, whose admins may pull from the listed registries only."""
    return image_catalog(settings, settings.image_registries)


def image_catalog(settings: Settings, listed: tuple[str, ...] | None = None) -> ImageCatalog:
    """The images, beside a running server too. Blocks. `SettingsError` for a table that is wrong.

    Raises `Unavailable` when the data directory cannot be used.
    """
    store = image_store(settings)
    try:
        make_data_dir(settings.data_dir)
        store.prepare()
        table = image_table.load(settings.image_table)
    except language_table.BadTable as error:
        raise SettingsError([str(error)]) from error
    except OSError as error:
        raise Unavailable(f"Images cannot be used: {error}.") from error
    sources = Sources(settings.image_registry, settings.image_pull_registries, listed)
    return ImageCatalog(store, table, sources)


async def warm_images(settings: Settings, images: ImageCatalog) -> list[Warm]:
    """The images that the operator wants sandboxes ready of, as they are now."""
    found: list[Warm] = []
    for name in settings.warm_images:
        try:
            found.append(Warm(Shape(image=await images.resolve(name))))
        except AtollError as error:
            _log.warning("no sandboxes are kept ready", image=name, error=error.detail)
    return found


def make_data_dir(directory: Path) -> None:
    """Make it, if it is not there. Raises `Unavailable`."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            f"The data directory {directory} cannot be made: {error.strerror}. "
            "Choose another with --data-dir."
        ) from error


async def collect_images(settings: Settings, images: ImageCatalog) -> Collected:
    """Remove what no sandbox, no snapshot and no name needs."""
    async with SqlStore.open(settings.url) as store:
        return await collected(images, store)
