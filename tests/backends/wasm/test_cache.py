"""Compiled code on disk: found again, whole or not at all."""

from pathlib import Path

import pytest

from atoll.backends.wasm.cache import Cache, digest

MODULE = digest(b"a module")


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    made = Cache(tmp_path)
    made.prepare()
    return made


def _again(tmp_path: Path, **fields: int) -> Cache:
    made = Cache(tmp_path, **fields)
    made.prepare()
    return made


def test_what_was_stored_is_found_also_by_the_next_server(cache: Cache, tmp_path: Path) -> None:
    assert cache.find(MODULE, "plain") is None
    path = cache.store(MODULE, "plain", b"code")
    assert cache.known(MODULE, "plain") == cache.find(MODULE, "plain") == path
    assert _again(tmp_path).find(MODULE, "plain") == path
    assert (tmp_path / path).read_bytes() == b"code"
    assert cache.find(MODULE, "fuel") is None


@pytest.mark.parametrize("damage", [b"", b"cod", b"codf", b"code and more"])
def test_damaged_code_is_dropped(cache: Cache, tmp_path: Path, damage: bytes) -> None:
    path = cache.store(MODULE, "plain", b"code")
    (tmp_path / path).write_bytes(damage)
    fresh = _again(tmp_path)
    assert fresh.find(MODULE, "plain") is None
    assert not (tmp_path / path).exists()
    assert fresh.store(MODULE, "plain", b"code") == path
    assert fresh.find(MODULE, "plain") == path


def test_forgotten_code_is_made_anew(cache: Cache, tmp_path: Path) -> None:
    path = cache.store(MODULE, "plain", b"code")
    cache.forget(path)
    assert cache.known(MODULE, "plain") is None
    assert cache.find(MODULE, "plain") is None
    assert not (tmp_path / path).exists()


def test_other_engines_and_half_written_files_go(cache: Cache, tmp_path: Path) -> None:
    path = cache.store(MODULE, "plain", b"code")
    (tmp_path / "wasmtime-1").mkdir()
    (tmp_path / "wasmtime-1" / "x.cwasm").write_bytes(b"old")
    draft = (tmp_path / path).with_name("half.part")
    draft.write_bytes(b"ha")
    _again(tmp_path)
    assert not draft.exists()
    assert [each.name for each in tmp_path.iterdir()] == [cache.key]
    assert (tmp_path / path).exists()


def test_it_does_not_grow_for_ever(tmp_path: Path) -> None:
    cache = _again(tmp_path, keep_bytes=1000)
    names = [digest(bytes([number])) for number in range(10)]
    for name in names:
        cache.store(name, "plain", name.encode() * 10)
    kept = [name for name in names if cache.find(name, "plain")]
    assert kept[-1] == names[-1]
    assert len(kept) == 2


def test_two_writers_of_the_same(cache: Cache, tmp_path: Path) -> None:
    other = _again(tmp_path)
    assert cache.store(MODULE, "plain", b"code") == other.store(MODULE, "plain", b"code")
    assert len(list((tmp_path / cache.key).iterdir())) == 1
