"""The images of a server. Implements `core.ports.Images` and `ImageNames`."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import anyio
from anyio import to_thread
from pydantic import ValidationError

from atoll.core.errors import BackendFault, Busy, InvalidRequest
from atoll.core.images import HOST, Collected, Image, Progress, pinned, split
from atoll.images import debian, loading, oci
from atoll.images.reference import Reference, parse
from atoll.images.store import ImageStore
from atoll.images.table import ImageTable, Rule
from atoll.jail.host import tool

_TRY_S = 0.5
_MESSAGE = re.compile(r'msg="(.*)"')  # what skopeo says, without when and how loud
_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Sources:
    """Where images may come from.

    `registry` is that of names which say none, with a path in it perhaps; empty is none. Requests
    make the server pull from the registries `on_demand`, and from no others; admins also from
    those `listed`, with None from any: that is for whoever sits at the machine.
    """

    registry: str = ""
    on_demand: tuple[str, ...] = ()
    listed: tuple[str, ...] | None = None


class ImageCatalog:
    """What is in the store, what the table says, and how to get the rest."""

    def __init__(self, store: ImageStore, table: ImageTable, sources: Sources) -> None:
        self._store = store
        self._table = table
        self._sources = sources
        self._pulling = anyio.Lock()

    def detect(self, argv: Sequence[str]) -> str:
        return self._table.detect(argv)

    async def resolve(self, name: str) -> str:
        if name == HOST:
            return HOST
        base, digest = split(name)
        if digest is not None:
            if await to_thread.run_sync(self._store.get, digest) is None:
                raise InvalidRequest(
                    f"The image {name[:200]!r} is not here any more.", field="image"
                )
            return name
        reference = parse(base)
        found = await self._stored(reference)
        if found is None:
            rule = self._table.rule(reference)
            if rule is not None and rule.root == "host":
                return HOST
            if not self._on_demand(reference, rule):
                raise InvalidRequest(self._hint(reference), field="image")
            async with self._pulling:
                found = await self._stored(reference)
                if found is None:
                    await self.pull(name, lambda _: None)
                    found = await self._stored(reference)
        if found is None:
            raise InvalidRequest(self._hint(reference), field="image")
        return found

    async def _stored(self, reference: Reference) -> str | None:
        digest = (await to_thread.run_sync(self._store.names)).get(reference.name)
        return None if digest is None else pinned(reference.name, digest)

    def _on_demand(self, reference: Reference, rule: Rule | None) -> bool:
        source = self._source(reference, rule)
        return source is not None and source.registry in self._sources.on_demand

    def _hint(self, reference: Reference) -> str:
        return (
            f"There is no image {reference.name!r} on this server. The operator can add it with "
            f"`atoll images pull {reference.name}`, say what the name means in the table of "
            "images, or list its registry in image_pull_registries; `host` is always there."
        )

    def _source(self, reference: Reference, rule: Rule | None) -> Reference | None:
        """The name that it has in a registry; None when none is known."""
        if rule is not None and rule.root == "oci":
            return parse(rule.source.replace("{tag}", reference.tag))
        if reference.registry:
            return reference
        if not self._sources.registry:
            return None
        full = parse(f"{self._sources.registry}/{reference.path}:{reference.tag}")
        return full if full.registry else None

    # the store
    async def list(self) -> Sequence[Image]:
        return await to_thread.run_sync(self._store.all)

    async def pull(self, name: str, told: Callable[[Progress], None]) -> Image:
        reference = parse(name)
        return await self._make(reference, self._table.rule(reference), told)

    async def load(self, name: str, archive: str) -> Image:
        reference = parse(name)
        with anyio.move_on_after(_WAIT_S):
            while True:
                try:
                    image = await loading.load(self._store, reference.name, Path(archive))
                except Busy:
                    await anyio.sleep(_TRY_S)
                except OSError as error:
                    raise BackendFault(f"The image cannot be stored: {error.strerror}.") from error
                else:
                    return replace(image, names=(*{*image.names, reference.name},))
        raise BackendFault(f"The image {reference.name!r} was not there within {_WAIT_S:g} s.")

    async def build(
        self,
        name: str,
        packages: Sequence[str],
        told: Callable[[Progress], None],
        *,
        suite: str = "",
        bare: bool = False,
    ) -> Image:
        """Make an image of Debian packages, whatever the table says of the name."""
        reference = parse(name)
        try:
            rule = Rule.model_validate(
                {
                    "match": (reference.name,),
                    "root": "debian",
                    "packages": tuple(packages),
                    "suite": suite,
                    "bare": bare,
                }
            )
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=True)[0]
            raise InvalidRequest(
                f"{str(first['input'])[:100]!r} cannot be the name of a package or a suite.",
                field=str(first["loc"][0]),
            ) from error
        return await self._make(reference, rule, told)

    async def _make(
        self, reference: Reference, rule: Rule | None, told: Callable[[Progress], None]
    ) -> Image:
        with anyio.move_on_after(_WAIT_S):
            while True:
                try:
                    image = await self._made(reference, rule, told)
                except Busy:
                    told(Progress("waiting"))
                    await anyio.sleep(_TRY_S)
                except tool.ToolFailed as error:
                    said = _MESSAGE.search(error.detail)
                    why = said[1].replace('\\"', '"') if said else error.detail
                    raise InvalidRequest(
                        f"The image {reference.name!r} could not be had: {why}", field="image"
                    ) from error
                except OSError as error:
                    raise BackendFault(f"The image cannot be stored: {error.strerror}.") from error
                else:
                    return replace(image, names=(*{*image.names, reference.name},))
        raise BackendFault(f"The image {reference.name!r} was not there within {_WAIT_S:g} s.")

    async def _made(
        self, reference: Reference, rule: Rule | None, told: Callable[[Progress], None]
    ) -> Image:
        if rule is not None and rule.root == "debian":
            return await debian.build(self._store, reference.name, rule, told)
        source = self._source(reference, rule)
        if source is None:
            raise InvalidRequest(
                f"{reference.name!r} names no registry, and the setting image_registry is empty: "
                f"pull it as `REGISTRY/{reference.name}`, or set image_registry.",
                field="image",
            )
        if reference.registry and (rule is None or rule.root != "oci"):
            self._check_listed(source.registry)
        return await oci.pull(self._store, reference.name, source, told)

    def _check_listed(self, registry: str) -> None:
        """Refuse a registry that only the request has named; the settings have named the rest."""
        listed = self._sources.listed
        own = self._sources.registry.partition("/")[0]
        if listed is not None and registry not in (*listed, *self._sources.on_demand, own):
            raise InvalidRequest(
                f"The registry {registry!r} is not listed in image_registries. The operator can "
                "list it, or use `atoll images pull` on the server's machine.",
                field="image",
            )

    async def remove(self, name: str) -> None:
        await to_thread.run_sync(self._store.remove, parse(name).name)

    async def collect(self, used: Collection[str]) -> Collected:
        return await to_thread.run_sync(self._store.collect, used)
