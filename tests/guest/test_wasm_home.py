"""Paths of a sandbox that is a directory of the host."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.guest.wasm.home import Beneath, Home
from atoll.wire import paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("workspace/deep", "tmp", "run"):
        (tmp_path / "root" / name).mkdir(parents=True)
    (tmp_path / "root/workspace/own").write_text("own")
    (tmp_path / "code").mkdir()
    (tmp_path / "code/a").write_text("code")
    (tmp_path / "secret").write_text("secret")
    return tmp_path / "root"


@pytest.fixture
def home(root: Path) -> Iterator[Beneath]:
    before = Path.cwd()
    held = os.open(root, os.O_PATH)
    code = os.open(root.parent / "code", os.O_PATH)
    yield Beneath(held, {"/opt/code": code})
    os.chdir(before)
    os.close(held)
    os.close(code)


def test_what_is_there_is_found(home: Beneath, root: Path) -> None:
    assert Path(home.named("/workspace/own")).read_text() == "own"
    assert Path(home.named("/opt/code/a")).read_text() == "code"
    home.enter("/workspace")
    assert home.cwd == "/workspace"
    assert Path.cwd() == root / "workspace"
    assert Path(home.named("own")).read_text() == "own"
    assert home.named(".") == "."


@pytest.mark.parametrize("place", ["/tmp/l", "/tmp/l/secret", "/workspace/up"])
@pytest.mark.parametrize("target", ["{outside}", "{outside}/secret", "/..{outside}", "../../.."])
def test_a_link_leads_nowhere_else(home: Beneath, root: Path, place: str, target: str) -> None:
    outside = str(root.parent)
    (root / "tmp/l").symlink_to(target.format(outside=outside))
    (root / "workspace/up").symlink_to("../../secret")
    found = home.named(place)
    assert not found or Path(found).resolve().is_relative_to(root)


def test_what_seems_to_be_shown_is_not_left(home: Beneath) -> None:
    assert home.named("/opt/codex") == ""
    with pytest.raises(paths.BadPath):
        home.named("/opt/code/../../secret")


@pytest.mark.parametrize("path", ["/", "/missing/x", "a\0b", "../x", "x" * 300])
def test_what_cannot_be_named(home: Beneath, path: str) -> None:
    assert home.named(path) == "" or path == "/"


def test_what_will_be_made_is_in_a_directory_of_its_own(home: Beneath, root: Path) -> None:
    assert Path(home.made("/run/x")).parent.resolve() == root / "run"
    (root / "run").rmdir()
    (root / "run").symlink_to(root.parent)
    with pytest.raises(FileNotFoundError):
        home.made("/run/x")


@pytest.mark.parametrize("path", ["/missing", "/workspace/own", "a\0b", "/../.."])
def test_what_is_no_directory_is_not_entered(home: Beneath, path: str) -> None:
    with pytest.raises((OSError, ValueError)):
        home.enter(path)


def test_with_a_root_of_its_own_paths_are_what_they_seem() -> None:
    home = Home()
    assert home.named("/tmp/x") == home.made("/tmp/x") == "/tmp/x"
    assert os.path.samestat(os.fstat(home.root), Path("/").stat())
    os.close(home.root)
