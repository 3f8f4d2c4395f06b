"""What a worker does when files change under its hands."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.guest import filework


@pytest.fixture
def link(tmp_path: Path) -> str:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("file")
    return f"{tmp_path}/link"


@pytest.fixture
def top() -> Iterator[int]:
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture
def own() -> Iterator[int]:
    fd = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


class OtherWriter:
    """Replaces a file just before its name is asked for, so often."""

    def __init__(self, file: Path, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file, self.left = file, times
        self._readlink = os.readlink
        monkeypatch.setattr(os, "readlink", self.readlink)

    def readlink(self, path: str, *, dir_fd: int) -> str:
        if self.left:
            self.left -= 1
            new = self.file.with_name("new")
            new.write_bytes(b"new")
            new.rename(self.file)
        return self._readlink(path, dir_fd=dir_fd)


@pytest.mark.parametrize("times", [0, 1, 5])
def test_a_target_that_was_replaced_is_found_again(
    tmp_path: Path, link: str, top: int, own: int, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = OtherWriter(tmp_path / "file", times, monkeypatch)
    assert filework.write_target(top, link, own) == f"{tmp_path}/file"
    assert other.left == 0


def test_a_target_that_never_rests_is_refused(
    tmp_path: Path, link: str, top: int, own: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    OtherWriter(tmp_path / "file", 10**6, monkeypatch)
    with pytest.raises(OSError, match="busy"):
        filework.write_target(top, link, own)


def test_a_plain_file_and_a_missing_one_are_their_own_targets(
    tmp_path: Path, link: str, top: int, own: int
) -> None:
    assert link
    for path in (f"{tmp_path}/file", f"{tmp_path}/missing", f"{tmp_path}/no/such"):
        assert filework.write_target(top, path, own) == path
