"""The store keeps what is named, referred to or open, and collects the rest."""

import json
from pathlib import Path

import pytest

from atoll.core.errors import BackendFault, Busy, NotFound, QuotaExceeded
from atoll.core.images import pinned
from atoll.images.layers import BadLayer
from atoll.images.store import ImageStore, Room
from tests.images.tars import ROOM, stored, tar

SHARED = tar(("shared", b"s" * 10_000))


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return made(tmp_path)


def made(place: Path, room: Room = ROOM) -> ImageStore:
    """A store in that directory."""
    store = ImageStore(place / "images", room)
    store.prepare()
    return store


def test_an_image_is_found_by_name_and_digest(store: ImageStore, tmp_path: Path) -> None:
    image = stored(store, "a:1", [SHARED, tar(("a", b"a"))], {"env": {"K": "v"}, "workdir": "/w"})
    again = made(tmp_path)  # another process
    with again.use("a:1") as found, again.use(pinned("whatever", image.digest)) as same:
        assert found == same == image
        assert found.env == {"K": "v"}
        assert (Path(again.layers) / found.layers[0] / "a").read_bytes() == b"a"
    assert [each.names for each in again.all()] == [("a:1",)]
    for wrong in ("b:1", pinned("a:1", "0" * 64), "../a", pinned("a", "../../etc/passwd")):
        with pytest.raises(NotFound), again.use(wrong):
            pass


@pytest.mark.parametrize(
    "damage", ['{"layers": ["../../etc"]}', '{"layers": ["a:upperdir=b"]}', "{}", "no", "[]"]
)
def test_a_damaged_record_is_refused(store: ImageStore, tmp_path: Path, damage: str) -> None:
    image = stored(store, "a:1", [SHARED])
    record = tmp_path / "images" / "images" / f"{image.digest}.json"
    value = json.loads(record.read_bytes())
    record.write_text(damage if damage[0] != "{" else json.dumps(value | json.loads(damage)))
    if damage == "{}":
        record.write_text(damage)
    with pytest.raises(BackendFault, match="damaged"), store.use("a:1"):
        pass


def test_layers_are_shared(store: ImageStore) -> None:
    one = stored(store, "a:1", [SHARED, tar(("a", b"a"))])
    two = stored(store, "b:1", [SHARED, tar(("b", b"b"))])
    assert one.layers[1] == two.layers[1]
    assert len(list(Path(store.layers).iterdir())) == 3
    assert stored(store, "c:1", [SHARED, tar(("b", b"b"))]).digest == two.digest


def test_what_is_needed_is_not_collected(store: ImageStore) -> None:
    image = stored(store, "a:1", [SHARED])
    reference = pinned("a:1", image.digest)
    assert store.collect([]).images == ()
    store.remove("a:1")
    assert store.collect([reference]).images == ()
    with store.use(reference):
        assert store.collect([]).images == ()
    (store.blobs / "sha256" / "left").write_bytes(b"12345")
    done = store.collect([])
    assert done.images == (image.digest,)
    assert (done.layers, done.blobs) == (1, 1)
    assert done.freed_bytes >= 10_000
    assert list(Path(store.layers).iterdir()) == []
    with pytest.raises(NotFound):
        store.remove("a:1")


def test_a_name_moves_and_the_old_image_stays_for_who_has_it(store: ImageStore) -> None:
    old = stored(store, "a:1", [SHARED])
    new = stored(store, "a:1", [tar(("n", b"n"))])
    assert store.names() == {"a:1": new.digest}
    assert store.collect([pinned("a:1", old.digest)]).layers == 0
    assert store.collect([]).images == (old.digest,)


def test_nothing_is_collected_while_something_is_made(store: ImageStore) -> None:
    with store.adding() as place:
        assert place.is_dir()
        with pytest.raises(Busy):
            store.collect([])
    assert not place.exists()
    store.collect([])


def test_images_have_so_much_room(tmp_path: Path) -> None:
    store = made(tmp_path, Room(image_bytes=24_000, store_bytes=20_000))
    with pytest.raises(BadLayer):
        stored(store, "big:1", [tar(("big", bytes(21_000)))])
    stored(store, "a:1", [SHARED])
    with pytest.raises(BadLayer):
        stored(store, "b:1", [tar(("b", bytes(9_000)))])
    full = made(tmp_path, Room(image_bytes=24_000, store_bytes=9_000))
    with pytest.raises(QuotaExceeded, match="images rm"):
        stored(full, "b:1", [tar(("b", b"b"))])
