"""The boundary for paths: text that stays inside, and descriptors that do whatever is planted."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.wire import paths

PIECES = st.lists(
    st.sampled_from(["", ".", "..", "a", "b c", "ü", "...", "..a", "\\", "%2e%2e", "\udcff", "~"])
    | st.text(max_size=5),
    max_size=12,
)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """A descriptor of `inside`; beside it is a secret."""
    (tmp_path / "secret").write_text("outside")
    place = tmp_path / "inside"
    place.mkdir()
    (place / "file").write_text("in")
    (place / "dir").mkdir()
    fd = os.open(place, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def read(root: int, path: str) -> str:
    fd = paths.open_in(root, path, os.O_RDONLY)
    try:
        return os.read(fd, 100).decode()
    finally:
        os.close(fd)


# text
@given(pieces=PIECES, base=st.sampled_from(["/", "/workspace", "/a/b/"]))
def test_clean_is_absolute_idempotent_and_inside(pieces: list[str], base: str) -> None:
    with contextlib.suppress(paths.BadPath):
        path = paths.clean("/".join(pieces), base)
        assert path.startswith("/")
        assert not {".", ".."} & set(path.split("/"))
        assert "//" not in path
        assert paths.clean(path) == path == paths.clean(path, "/elsewhere")


@given(text=st.text(max_size=300))
def test_clean_refuses_with_its_own_error_alone(text: str) -> None:
    with contextlib.suppress(paths.BadPath):
        assert "\0" not in paths.clean(text)


@pytest.mark.parametrize(
    "path",
    ["..", "/..", "../x", "a/../..", "/a/../../etc", "./..", "//..", "/./../x", "a//../../b/../..",
     "../" * 50 + "etc/passwd", "x/" + "../" * 2],
)  # fmt: skip
def test_every_spelling_of_leaving_is_refused(path: str) -> None:
    with pytest.raises(paths.BadPath, match="leaves"):
        paths.clean(path)


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("a", "/w/a"),
        ("/a", "/a"),
        ("..", "/"),
        ("../x", "/x"),
        ("a/./b/../c/", "/w/a/c"),
        ("//a///b", "/a/b"),
        (".", "/w"),
        ("/", "/"),
        ("...", "/w/..."),
        ("a\\..\\b", "/w/a\\..\\b"),
        ("%2e%2e", "/w/%2e%2e"),
    ],
)
def test_clean(path: str, cleaned: str) -> None:
    assert paths.clean(path, "/w") == cleaned


@pytest.mark.parametrize("path", ["", "a\0b", "\0", "a" * 256, "ü" * 128, "a/" * 2100, "\ud800"])
def test_text_that_cannot_be_a_path(path: str) -> None:
    with pytest.raises(paths.BadPath):
        paths.clean(path)


def test_the_longest_names() -> None:
    assert paths.clean("a" * 255) == "/" + "a" * 255
    longest = "/a" * 2047
    assert paths.clean(longest) == longest


# descriptors
@pytest.mark.parametrize(
    "target",
    ["../secret", "/secret", "../../../../../secret", "dir/../../secret", "/../secret",
     "/dir/../../secret", "./../secret"],
)  # fmt: skip
def test_a_planted_link_stays_inside(root: int, tmp_path: Path, target: str) -> None:
    os.symlink(target, "link", dir_fd=root)
    with pytest.raises(FileNotFoundError):
        read(root, "/link")
    (tmp_path / "inside" / "secret").write_text("in")
    assert read(root, "/link") == "in"


def test_the_absolute_name_of_the_secret_leads_nowhere(root: int, tmp_path: Path) -> None:
    os.symlink(str(tmp_path / "secret"), "link", dir_fd=root)
    os.symlink(str(tmp_path), "up", dir_fd=root)
    for path in ("/link", "/up/secret", str(tmp_path / "secret"), "../secret", "/../secret"):
        with pytest.raises(FileNotFoundError):
            read(root, path)


def test_links_inside_are_followed(root: int) -> None:
    os.symlink("/file", "absolute", dir_fd=root)
    os.symlink("../file", "dir/up", dir_fd=root)
    assert read(root, "/absolute") == read(root, "/dir/up") == "in"
    for path in ("/absolute", "/dir/up"):
        with pytest.raises(OSError) as caught:
            paths.open_in(root, path, os.O_RDONLY, follow=False)
        assert caught.value.errno == errno.ELOOP


def test_a_loop_of_links(root: int) -> None:
    os.symlink("b", "a", dir_fd=root)
    os.symlink("a", "b", dir_fd=root)
    os.symlink("self/x", "self", dir_fd=root)
    for path in ("/a", "/self", "/self/x"):
        with pytest.raises(OSError) as caught:
            read(root, path)
        assert caught.value.errno == errno.ELOOP


def test_magic_links_are_refused() -> None:
    """Even where /proc is inside: they would lead out of any root."""
    top = os.open("/", os.O_PATH | os.O_DIRECTORY)
    for path in ("/proc/self/root/etc/passwd", "/proc/self/fd/0", "/proc/self/exe"):
        with pytest.raises(OSError) as caught:
            paths.open_in(top, path, os.O_RDONLY)
        assert caught.value.errno == errno.ELOOP
    os.close(top)


def test_what_is_made_through_a_link_is_made_inside(root: int, tmp_path: Path) -> None:
    os.symlink("../made", "link", dir_fd=root)
    os.close(paths.open_in(root, "/link", os.O_WRONLY | os.O_CREAT, 0o600))
    assert (tmp_path / "inside" / "made").exists()
    assert not (tmp_path / "made").exists()
    os.symlink("/../..", "up", dir_fd=root)
    paths.make_parents(root, "/up/x/y")
    assert (tmp_path / "inside" / "x" / "y").is_dir()


def test_make_parents_again_and_over_a_file(root: int) -> None:
    paths.make_parents(root, "/p/q")
    paths.make_parents(root, "/p/q")
    with pytest.raises(NotADirectoryError):
        paths.make_parents(root, "/file/x")
    paths.make_parents(root, "/")


def test_the_root_itself_has_no_parent(root: int) -> None:
    with pytest.raises(paths.BadPath), paths.parent(root, "/"):
        pass


def test_only_regular_files_open_as_such(root: int) -> None:
    os.mkfifo("pipe", dir_fd=root)
    os.symlink("pipe", "to_pipe", dir_fd=root)
    for path in ("/pipe", "/to_pipe"):
        with pytest.raises(paths.BadPath):
            paths.open_regular(root, path)
    with pytest.raises(IsADirectoryError):
        paths.open_regular(root, "/dir")
    os.close(paths.open_regular(root, "/file"))


def test_no_descriptor_is_left(root: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for path in ("/nothing/x", "/file/x"):
        with pytest.raises(OSError):
            paths.open_regular(root, path)
        with pytest.raises(OSError), paths.parent(root, path):
            pass
    assert len(os.listdir("/proc/self/fd")) == before


# trees
@pytest.mark.slow
def test_a_deep_tree_is_removed(root: int) -> None:
    here = os.open("dir", os.O_RDONLY, dir_fd=root)
    for _ in range(5000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    paths.remove_tree(root, "dir")
    assert os.listdir(os.open(".", os.O_RDONLY, dir_fd=root)) == ["file"]


def test_a_wide_tree_is_removed_and_links_are_not_followed(root: int, tmp_path: Path) -> None:
    wide = tmp_path / "inside" / "dir"
    for number in range(2000):
        (wide / f"f{number}").touch()
    for number in range(200):
        (wide / f"d{number}").mkdir()
        (wide / f"d{number}" / "link").symlink_to(tmp_path)
    (wide / "out").symlink_to(tmp_path)
    paths.remove_tree(root, "dir")
    assert [entry.name for entry in (tmp_path / "inside").iterdir()] == ["file"]
    assert (tmp_path / "secret").read_text() == "outside"


def test_a_link_is_not_a_tree(root: int) -> None:
    os.symlink("dir", "link", dir_fd=root)
    with pytest.raises(OSError):
        paths.remove_tree(root, "link")
