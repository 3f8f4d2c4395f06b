"""Images from a registry: pulled, checked, gone on with, refused when they lie."""

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from atoll.backends.namespace import NamespaceBackend, NamespaceConfig
from atoll.core.errors import InvalidRequest, QuotaExceeded
from atoll.core.images import Progress, pinned
from atoll.core.model import SandboxSpec
from atoll.images.catalog import ImageCatalog, Sources
from atoll.images.oci import BadImage, _parts
from atoll.images.store import ImageStore, Room
from atoll.images.table import ImageTable, Rule, load
from atoll.testing.backend.running import run, script
from tests.images.registry import layout, push, registry
from tests.images.tars import ROOM, busybox, tar

pytestmark = [
    pytest.mark.anyio, pytest.mark.needs("cmd:skopeo", "cmd:docker-registry", "cmd:busybox"),
]  # fmt: skip
ABOUT = {"Env": ["KIND=pulled", "bad"], "WorkingDir": "/srv", "User": "app", "Cmd": ["sh"]}
TOP = tar(("etc/.wh.gone", b""), ("etc/new", b"new\n"))
BASE = tar(("etc", None), ("etc/gone", b"gone"))


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str, None, None]:
    place = Path(tmp_path_factory.mktemp("registry"))
    with registry(place) as address:
        push(
            layout(place / "one", [busybox("sh", "cat"), BASE, TOP], ABOUT), f"{address}/team/app:1"
        )
        lies = ["sha256:" + hashlib.sha256(b"another").hexdigest()]
        push(layout(place / "lies", [BASE], diff_ids=lies), f"{address}/lies:1")
        push(layout(place / "bad", [tar(("../out", b"x"))]), f"{address}/bad:1")
        push(layout(place / "big", [tar(("big", bytes(4 << 20)))]), f"{address}/big:1")
        for name, about, instead in (
            ("half", {"User": "\ud800"}, ("", "")),
            ("long", {"Cmd": ["x" * (200 << 10)]}, ("", "")),
            (
                "deep",
                {"Labels": {"a": "@"}},
                ('"Labels"', '"Other": ' + "[" * 3000 + "]" * 3000 + ', "Labels"'),
            ),
        ):
            push(layout(place / name, [BASE], about, instead=instead), f"{address}/{name}:1")
        yield address


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    store = ImageStore(tmp_path / "images", ROOM)
    store.prepare()
    return store


@pytest.fixture
def table() -> ImageTable:
    return load()


@pytest.fixture
def catalog(store: ImageStore, table: ImageTable) -> ImageCatalog:
    return ImageCatalog(store, table, Sources())


@pytest.mark.needs("userns")
@pytest.mark.blocking("the backend is made by the test")
async def test_a_pulled_image_runs(
    catalog: ImageCatalog, store: ImageStore, address: str, tmp_path: Path
) -> None:
    told: list[Progress] = []
    image = await catalog.pull(f"{address}/team/app:1", told.append)
    assert (image.env, image.workdir, image.user) == ({"KIND": "pulled"}, "/srv", "app")
    assert image.command == ("sh",)
    assert [each.stage for each in told if each.stage == "unpacking"] == ["unpacking"] * 3
    assert max(each.bytes for each in told if each.stage == "fetching") > 100_000
    assert list((store.blobs / "sha256").iterdir()) == []
    spec = SandboxSpec(id="pulled", image=pinned("x", image.digest))
    async with (
        NamespaceBackend(NamespaceConfig(tmp_path / "boxes", images=store)) as backend,
        backend.open(spec) as sandbox,
    ):
        ran = await run(sandbox, script('echo "$KIND"; cat /etc/new; cat /etc/gone'))
        assert ran.stdout == b"pulled\nnew\n"


async def test_the_same_again_fetches_nothing(catalog: ImageCatalog, address: str) -> None:
    first = await catalog.pull(f"{address}/team/app:1", lambda _: None)
    told: list[Progress] = []
    again = await catalog.pull(f"{address}/team/app:1", told.append)
    assert again.digest == first.digest
    assert [each.stage for each in told] == ["asking"]


async def test_what_an_interrupted_pull_has_is_used(
    catalog: ImageCatalog, store: ImageStore, address: str, tmp_path: Path
) -> None:
    # As an interruption leaves it: one blob is here, and the registry has lost it since.
    source = layout(tmp_path / "two", [busybox("sh"), BASE], ABOUT)
    push(source, f"{address}/two:1")
    blob = max((source / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    lost = tmp_path.parent
    for path in lost.rglob(f"registry/**/blobs/sha256/*/{blob.name}/data"):
        path.unlink()
    with pytest.raises(InvalidRequest, match="could not be had"):
        await catalog.pull(f"{address}/two:1", lambda _: None)
    assert store.names() == {}
    shutil.copy(blob, store.blobs / "sha256" / blob.name)
    image = await catalog.pull(f"{address}/two:1", lambda _: None)
    assert (Path(store.layers) / image.layers[1] / "bin/busybox").exists()


async def test_a_blob_that_was_changed_meanwhile_is_refused(
    catalog: ImageCatalog, store: ImageStore, address: str, tmp_path: Path
) -> None:
    source = layout(tmp_path / "three", [busybox("sh"), TOP])
    push(source, f"{address}/three:1")
    blob = max((source / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    (store.blobs / "sha256" / blob.name).write_bytes(data)
    with pytest.raises(BadImage):
        await catalog.pull(f"{address}/three:1", lambda _: None)
    assert store.names() == {}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("lies", "digest"), ("bad", r"'\.\.'"), ("big", "image_bytes"), ("half", "surrogates"),
        ("long", "of itself"),
        # Later versions read what is as deep as that; only flat parts of it are kept.
        *([("deep", "RecursionError")] if sys.version_info < (3, 12) else []),
    ],
)  # fmt: skip
async def test_images_that_are_refused(
    address: str, table: ImageTable, tmp_path: Path, name: str, why: str
) -> None:
    store = ImageStore(tmp_path / "images", Room(image_bytes=2 << 20, store_bytes=1 << 30))
    await to_thread.run_sync(store.prepare)
    catalog = ImageCatalog(store, table, Sources())
    with pytest.raises((BadImage, QuotaExceeded), match=why):
        await catalog.pull(f"{address}/{name}:1", lambda _: None)
    assert store.names() == {}
    assert list(Path(store.layers).iterdir()) == []
    assert not (tmp_path / "out").exists()


async def test_requests_pull_only_from_listed_registries(
    store: ImageStore, table: ImageTable, address: str
) -> None:
    name = f"{address}/team/app:1"
    with pytest.raises(InvalidRequest, match="image_pull_registries"):
        await ImageCatalog(store, table, Sources()).resolve(name)
    allowed = ImageCatalog(store, table, Sources(on_demand=(address,)))
    found: list[str] = []

    async def ask() -> None:
        found.append(await allowed.resolve(name))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(ask)
    assert len(set(found)) == 1
    assert found[0].startswith(f"{name}@sha256:")
    short = ImageCatalog(store, table, Sources(registry=f"{address}/team", on_demand=(address,)))
    assert (await short.resolve("app:1")).startswith("app:1@sha256:")


async def test_admins_pull_only_from_listed_registries(
    store: ImageStore, table: ImageTable, address: str
) -> None:
    name = f"{address}/team/app:1"
    with pytest.raises(InvalidRequest, match="image_registries"):
        await ImageCatalog(store, table, Sources(listed=())).pull(name, lambda _: None)
    rule = Rule.model_validate(
        {"match": ("own:*",), "root": "oci", "from": f"{address}/team/app:{{tag}}"}
    )
    for sources, asked in (
        (Sources(listed=(address,)), name),
        (Sources(on_demand=(address,), listed=()), name),
        (Sources(registry=f"{address}/team", listed=()), "app:1"),
        (Sources(listed=()), "own:1"),
    ):
        catalog = ImageCatalog(store, ImageTable([rule], {}), sources)
        assert asked in (await catalog.pull(asked, lambda _: None)).names


def test_layers_that_are_elsewhere(tmp_path: Path) -> None:
    place = layout(tmp_path / "one", [BASE], urls=["http://elsewhere.example/layer"])
    with pytest.raises(BadImage, match="urls"):
        _parts(place, place / "blobs")
    place = layout(tmp_path / "two", [BASE])
    assert len(_parts(place, place / "blobs").layers) == 1


async def test_what_is_cancelled_while_it_unpacks_stops(
    catalog: ImageCatalog, store: ImageStore, address: str
) -> None:
    stages = list[str]()
    with anyio.fail_after(15):
        with anyio.CancelScope() as scope:

            def told(progress: Progress) -> None:
                stages.append(progress.stage)
                if progress.stage == "unpacking":
                    scope.cancel()

            await catalog.pull(f"{address}/team/app:1", told)
        assert scope.cancelled_caught
        assert stages[-1] == "unpacking"
        assert store.names() == {}
        assert list((Path(store.layers).parent / "making").iterdir()) == []
        await catalog.pull(f"{address}/team/app:1", lambda _: None)


async def test_nothing_is_named_while_garbage_is_collected(
    catalog: ImageCatalog, store: ImageStore, address: str
) -> None:
    """Also not what is here already: it might be the garbage."""
    await catalog.pull(f"{address}/team/app:1", lambda _: None)
    stages = list[str]()
    with anyio.fail_after(15):
        async with anyio.create_task_group() as tasks:
            with store._locked(fcntl.LOCK_EX):
                tasks.start_soon(
                    catalog.pull, f"{address}/team/app:1", lambda at: stages.append(at.stage)
                )
                while "waiting" not in stages:
                    await anyio.sleep(0.02)  # waits on purpose: for the pull to come that far
    assert stages.count("fetching") == 0


async def test_what_is_not_there(catalog: ImageCatalog, address: str) -> None:
    with pytest.raises(InvalidRequest, match=r"nothing:1.*manifest"):
        await catalog.pull(f"{address}/nothing:1", lambda _: None)
