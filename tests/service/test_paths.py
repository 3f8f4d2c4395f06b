import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.core.errors import InvalidRequest
from atoll.service.paths import relative_files, relative_path

PARTS = st.one_of(st.sampled_from(["", ".", "..", "a", "b", "\0", "é" * 130]), st.text(max_size=5))


@given(st.lists(PARTS, max_size=8).map("/".join))
def test_what_is_accepted_stays_beneath_and_is_plain(path: str) -> None:
    try:
        plain = relative_path(path, "files")
    except InvalidRequest:
        return
    assert not plain.startswith("/")
    assert posixpath.normpath(plain) == plain
    assert ".." not in plain.split("/")
    assert "\0" not in plain
    assert all(len(part.encode("utf-8", "surrogateescape")) <= 255 for part in plain.split("/"))
    assert relative_path(plain, "files") == plain


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "a/../b",
        "a/..",
        ".",
        "./",
        "a/",
        "a/.",
        "a\0b",
        "x" * 256,
        "é" * 128,
        "a/" * 64 + "b",
        ("x" * 250 + "/") * 17 + "y",
        "\ud800",
    ],
)
def test_what_cannot_be_a_file_beneath_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        relative_path(path, "files")
    assert caught.value.field == "files"


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("a", "a"),
        ("./a", "a"),
        ("a//b/./c", "a/b/c"),
        ("..a/b..", "..a/b.."),
        ("x" * 255, "x" * 255),
        ("~/a b\n", "~/a b\n"),
        ("\udcff", "\udcff"),
        ("c:\\x", "c:\\x"),
    ],
)
def test_what_can_be_is_made_plain(path: str, plain: str) -> None:
    assert relative_path(path, "files") == plain


def test_a_set_may_not_name_a_file_twice() -> None:
    with pytest.raises(InvalidRequest, match="twice"):
        relative_files({"a": b"", "./a": b""})


def test_a_file_cannot_be_a_directory_too() -> None:
    with pytest.raises(InvalidRequest, match="directory"):
        relative_files({"a/b/c": b"", "a/b": b""})
    assert relative_files({"a/b": b"1", "a/c": b"2", "ab": b"3"}) == {
        "a/b": b"1",
        "a/c": b"2",
        "ab": b"3",
    }
