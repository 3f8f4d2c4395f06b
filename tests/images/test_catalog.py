"""What names mean: the store, then the table, then a registry that the operator has named."""

from pathlib import Path

import pytest

from atoll.core.errors import InvalidRequest
from atoll.core.images import HOST, pinned
from atoll.images.catalog import ImageCatalog, Sources
from atoll.images.languages import BadTable
from atoll.images.reference import parse
from atoll.images.store import ImageStore
from atoll.images.table import load
from tests.images.tars import ROOM, stored, tar

pytestmark = [pytest.mark.anyio, pytest.mark.blocking("tables are read by the tests themselves")]


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    store = ImageStore(tmp_path / "images", ROOM)
    store.prepare()
    return store


def catalog(
    store: ImageStore, table: Path | None = None, sources: Sources | None = None
) -> ImageCatalog:
    """A catalogue with that table before the one that comes with Atoll."""
    return ImageCatalog(store, load(table), sources or Sources())


@pytest.mark.parametrize(
    ("name", "known_as"),
    [
        ("alpine", "alpine:latest"),
        ("python:3.12-alpine", "python:3.12-alpine"),
        ("team/app:1", "team/app:1"),
        ("localhost/app", "localhost/app:latest"),
        ("registry.example:5000/team/app:V1", "registry.example:5000/team/app:V1"),
    ],
)
def test_names_have_one_spelling(name: str, known_as: str) -> None:
    assert parse(name).name == known_as
    assert parse(known_as).name == known_as


@pytest.mark.parametrize(
    "name",
    ["", "Alpine", "Team/app", "a b", "-x", "a:", ":1", "a/../b", "../a", "/a", "a//b", "a@b",
     "a\n", "a" * 300, "a:" + "t" * 129, "--help", "host.example:x/a"],
)  # fmt: skip
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(name)
    assert refused.value.field == "image"


async def test_the_host_and_what_the_table_says_is_the_host(store: ImageStore) -> None:
    names = catalog(store)
    assert await names.resolve(HOST) == HOST
    assert await names.resolve("python:3.12-alpine") == HOST
    with pytest.raises(InvalidRequest, match="atoll images pull nothing:1"):
        await names.resolve("nothing:1")


async def test_the_store_comes_first_and_pins(store: ImageStore) -> None:
    names = catalog(store)
    image = stored(store, "python:3.12-alpine", [tar(("a", b"a"))])
    reference = await names.resolve("python:3.12-alpine")
    assert reference == pinned("python:3.12-alpine", image.digest)
    stored(store, "python:3.12-alpine", [tar(("b", b"b"))])
    assert await names.resolve("python:3.12-alpine") != reference
    assert await names.resolve(reference) == reference
    with pytest.raises(InvalidRequest, match="not here"):
        await names.resolve(pinned("python:3.12-alpine", "0" * 64))


@pytest.mark.parametrize(
    ("command", "image"),
    [
        ("npm install", "node:22-alpine"), ("pytest -q", "python:3.12-alpine"),
        ("/usr/bin/python3 -c 1", "python:3.12-alpine"), ("go build", "golang:1.23-alpine"),
        ("cargo test", "rust:1.85-alpine"), ("terraform plan", "hashicorp/terraform:1.10"),
        ("ls", HOST), ("", HOST),
    ],
)  # fmt: skip
def test_commands_tell_their_image(store: ImageStore, command: str, image: str) -> None:
    assert catalog(store).detect(command.split()) == image


async def test_an_operators_table_comes_first(store: ImageStore, tmp_path: Path) -> None:
    table = tmp_path / "images.toml"
    table.write_text(
        '[[rule]]\nmatch = ["python:*"]\nroot = "oci"\nfrom = "registry.example/py:{tag}"\n'
        '[commands]\n"mine:1" = ["ls", "go"]\n'
    )
    names = catalog(store, table)
    assert names.detect(["ls"]) == names.detect(["go"]) == "mine:1"
    assert names.detect(["node"]) == "node:22-alpine"
    with pytest.raises(InvalidRequest, match="pull python:3"):
        await names.resolve("python:3")
    assert await names.resolve("node:22") == HOST


async def test_a_name_without_a_registry_needs_one(store: ImageStore) -> None:
    with pytest.raises(InvalidRequest, match="image_registry"):
        await catalog(store).pull("alpine:3", lambda _: None)


@pytest.mark.parametrize(
    ("packages", "suite", "field"),
    [(["--hook=x"], "", "packages"), (["jq", "a b"], "", "packages"), (["jq"], "--x", "suite")],
)
async def test_what_is_no_package(
    store: ImageStore, packages: list[str], suite: str, field: str
) -> None:
    with pytest.raises(InvalidRequest, match="package") as refused:
        await catalog(store).build("tools:1", packages, lambda _: None, suite=suite)
    assert refused.value.field == field


@pytest.mark.parametrize(
    "text",
    ["x", "[[rule]]\nmatch = []\nroot = 'host'", "[[rule]]\nmatch = ['a']\nroot = 'moon'",
     "[[rule]]\nmatch = ['a']\nroot = 'host'\npackages = ['p']",
     "[[rule]]\nmatch = ['a']\nroot = 'oci'",
     "[[rule]]\nmatch = ['a']\nroot = 'debian'\npackages = ['--hook=x']", "unknown = 1"],
)  # fmt: skip
def test_a_bad_table_is_refused(tmp_path: Path, text: str) -> None:
    table = tmp_path / "images.toml"
    table.write_text(text)
    with pytest.raises(BadTable):
        load(table)
