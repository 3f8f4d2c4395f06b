"""Images of Debian packages, from wherever this host's apt gets its own."""

from pathlib import Path

import pytest
from anyio import run_process

from atoll.core.errors import InvalidRequest
from atoll.core.images import Progress
from atoll.images.catalog import ImageCatalog, Sources
from atoll.images.store import ImageStore
from atoll.images.table import ImageTable, load
from tests.images.tars import ROOM

pytestmark = [pytest.mark.anyio, pytest.mark.needs("root", "cmd:mmdebstrap")]
RULES = """
[[rule]]
match = ["box:*"]
root = "debian"
packages = ["busybox-static"]
bare = true

[[rule]]
match = ["none:*"]
root = "debian"
packages = ["there-is-no-such-package"]
bare = true
"""


@pytest.fixture
def table(tmp_path: Path) -> ImageTable:
    path = tmp_path / "table.toml"
    path.write_text(RULES)
    return load(path)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    store = ImageStore(tmp_path / "images", ROOM)
    store.prepare()
    return store


async def test_an_image_is_built(table: ImageTable, store: ImageStore) -> None:
    told: list[Progress] = []
    image = await ImageCatalog(store, table, Sources()).pull("box:1", told.append)
    assert {each.stage for each in told} == {"building", "unpacking"}
    assert "busybox-static" in image.source
    program = Path(store.layers) / image.layers[0] / "bin/busybox"
    assert (await run_process([program, "echo", "built"])).stdout == b"built\n"


async def test_what_cannot_be_built_says_why(table: ImageTable, store: ImageStore) -> None:
    with pytest.raises(InvalidRequest, match="could not be had"):
        await ImageCatalog(store, table, Sources()).pull("none:1", lambda _: None)
    assert store.names() == {}
