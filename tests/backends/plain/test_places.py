"""Directories of plain sandboxes: whole or not there, and gone when they are dropped."""

import os
from pathlib import Path

import pytest

from atoll.backends.plain.places import Places
from atoll.core.errors import NotFound


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path, None)
    made.prepare()
    return made


def _names(fd: int) -> list[str]:
    try:
        return sorted(os.listdir(f"/proc/self/fd/{fd}"))
    finally:
        os.close(fd)


def test_a_kept_one_is_found_again_also_by_the_next_server(places: Places, tmp_path: Path) -> None:
    assert _names(places.open("a", kept=True)) == ["home", "run", "tmp", "var", "workspace"]
    (tmp_path / "kept/a/workspace/note").write_text("x")
    again = Places(tmp_path, None)
    again.prepare()
    assert again.names() == ["a"]
    os.close(again.open("a", kept=True))
    assert (tmp_path / "kept/a/workspace/note").read_text() == "x"
    assert again.usage("a")[1] == 1


def test_what_a_killed_server_has_left_goes(places: Places, tmp_path: Path) -> None:
    os.close(places.open("a", kept=False))
    (tmp_path / "drafts/half").mkdir()
    places.prepare()
    places.empty()
    for name in ("fresh", "drafts", "trash"):
        assert list((tmp_path / name).iterdir()) == []


def test_dropped_is_gone(places: Places, tmp_path: Path) -> None:
    for kept in (True, False):
        os.close(places.open("a", kept=kept))
    (tmp_path / "kept/a/workspace/locked").mkdir(mode=0)
    places.drop("a")
    places.drop("a")
    places.drop("never")
    assert places.names() == []
    places.empty()
    assert list((tmp_path / "trash").iterdir()) == []


@pytest.mark.parametrize("name", ["..", "a/b", "", ".", "a\0"])
def test_what_is_no_id(places: Places, name: str) -> None:
    with pytest.raises(NotFound):
        places.open(name, kept=True)
    places.drop(name)
