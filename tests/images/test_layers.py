"""Layers are hostile: whatever an archive says, it stays in its directory and within its budget."""

import contextlib
import os
import stat
import tarfile
from pathlib import Path

import pytest

from atoll.images.layers import BadLayer, Budget, unpack
from tests.images.tars import Entry, special, tar

BUDGET = 1 << 20


def made(directory: Path) -> Path:
    """A new directory."""
    directory.mkdir()
    return directory


def laid(place: Path, *entries: Entry | tarfile.TarInfo, budget: Budget | None = None) -> Path:
    """The directory of a layer of those entries, with a file beside it that is nobody's."""
    (place / "outside").write_text("mine")
    directory = place / "layer"
    directory.mkdir()
    unpack(iter([tar(*entries)]), str(directory), budget or Budget(BUDGET))
    return directory


def test_a_layer_is_laid_out(tmp_path: Path) -> None:
    layer = laid(
        tmp_path, ("./usr/bin/tool", b"#!"), ("/etc/absolute", b"a"), ("lib", "usr/lib"),
        special("usr/bin/same", tarfile.LNKTYPE, "usr/bin/tool"),
    )  # fmt: skip
    assert (layer / "usr/bin/tool").read_bytes() == b"#!"
    assert (layer / "etc/absolute").read_bytes() == b"a"
    assert (layer / "lib").readlink() == Path("usr/lib")
    assert (layer / "usr/bin/same").samefile(layer / "usr/bin/tool")


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/../outside"])
def test_names_do_not_lead_out(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadLayer, match=r"'\.\.'"):
        laid(tmp_path, (name, b"theirs"))
    assert (tmp_path / "outside").read_text() == "mine"


@pytest.mark.parametrize("target", ["..", "../../../../../../..", "/", "/proc/self/root"])
def test_links_do_not_lead_out(tmp_path: Path, target: str) -> None:
    name = f"way{tmp_path}/outside" if target != ".." else "way/outside"
    with contextlib.suppress(BadLayer):
        laid(tmp_path, ("way", target), (name, b"theirs"))
    assert (tmp_path / "outside").read_text() == "mine"


def test_links_inside_are_followed_inside(tmp_path: Path) -> None:
    layer = laid(tmp_path, ("usr/bin", None), ("bin", "/usr/bin"), ("bin/tool", b"x"))
    assert (layer / "usr/bin/tool").read_bytes() == b"x"


def test_a_hard_link_does_not_lead_out(tmp_path: Path) -> None:
    outside = str(tmp_path / "outside")
    with pytest.raises(BadLayer):
        laid(tmp_path, ("way", "/"), special("mine", tarfile.LNKTYPE, outside))
    assert not (tmp_path / "layer/mine").exists()


def test_no_devices_pipes_or_special_bits(tmp_path: Path) -> None:
    program = tarfile.TarInfo("su")
    program.mode = 0o6711
    layer = laid(
        tmp_path, program, special("mem", tarfile.CHRTYPE), special("disk", tarfile.BLKTYPE),
        special("pipe", tarfile.FIFOTYPE),
    )  # fmt: skip
    assert os.listdir(layer) == ["su"]
    assert stat.S_IMODE((layer / "su").stat().st_mode) == 0o755


def test_what_a_layer_removes_is_marked(tmp_path: Path) -> None:
    layer = laid(
        tmp_path, ("etc/.wh.gone", b""), ("var/.wh..wh..opq", b""), (".wh..wh.plnk", None),
        ("etc/.wh.again", b""), ("etc/again", None), ("etc/again/new", b"n"),
    )  # fmt: skip
    gone = (layer / "etc/gone").lstat()
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0
    assert os.getxattr(layer / "var", "user.overlay.opaque") == b"y"
    assert os.getxattr(layer / "etc/again", "user.overlay.opaque") == b"y"
    assert sorted(os.listdir(layer)) == ["etc", "var"]


def test_a_later_entry_replaces_an_earlier_one(tmp_path: Path) -> None:
    layer = laid(tmp_path, ("a/b", b"1"), ("a", b"2"), ("c", "/"), ("c", None), ("c/d", b"3"))
    assert (layer / "a").read_bytes() == b"2"
    assert (layer / "c/d").read_bytes() == b"3"


def test_bombs_are_bounded(tmp_path: Path) -> None:
    with pytest.raises(BadLayer, match="image_bytes"):
        laid(tmp_path, ("zeros", bytes(BUDGET + 1)))
    with pytest.raises(BadLayer, match="entries"):
        laid(made(tmp_path / "x"), ("a", b""), ("b", b""), budget=Budget(BUDGET, entries=1))


def test_a_header_is_bounded(tmp_path: Path) -> None:
    long = tarfile.TarInfo("x")
    long.pax_headers = {"comment": "c" * (2 << 20)}
    with pytest.raises(BadLayer, match="header"):
        unpack(iter([long.tobuf(tarfile.PAX_FORMAT), bytes(1024)]), str(tmp_path), Budget(BUDGET))


@pytest.mark.parametrize("data", [b"\0" * 511 + b"x" * 2000, b"no tar at all" * 100])
def test_what_is_no_archive(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadLayer):
        unpack(iter([data]), str(tmp_path), Budget(BUDGET))
