"""Archives whose headers lie are refused as archives, and nothing is written past a bound."""

import tarfile
from pathlib import Path

import pytest

from atoll.images.layers import BadLayer, Budget, unpack

BUDGET = 1 << 20
BLOCK = 512
END = bytes(2 * BLOCK)


def header(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> bytes:
    """One block, whatever it says."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def extended(**records: str) -> bytes:
    """A header of PAX records for the entry that follows."""
    data = b""
    for key, value in records.items():
        text = f" {key.replace('__', '.')}={value}\n".encode()
        length = next(n for n in range(len(text), len(text) + 9) if n == len(text) + len(str(n)))
        data += str(length).encode() + text
    return header("x", len(data), tarfile.XHDTYPE) + data + bytes(-len(data) % BLOCK)


def lay(directory: Path, data: bytes, budget: Budget) -> None:
    """Unpack it."""
    unpack(iter([data]), str(directory), budget)


@pytest.mark.parametrize("size", [-1, -BLOCK, -(1 << 40), -(1 << 80)])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_negative_size_buys_no_room(tmp_path: Path, size: int, kind: bytes) -> None:
    budget = Budget(BUDGET)
    data = header("a", size, kind) + header("b", BLOCK) + b"x" * BLOCK + END
    try:
        lay(tmp_path, data, budget)
    except BadLayer:
        assert not (tmp_path / "b").exists()
    assert budget.bytes <= BUDGET
    assert sum(path.stat().st_size for path in tmp_path.iterdir() if path.is_file()) <= BLOCK


def test_a_negative_size_in_words_buys_no_room(tmp_path: Path) -> None:
    budget = Budget(BUDGET)
    with pytest.raises(BadLayer, match="size"):
        lay(tmp_path, extended(size="-1000000000") + header("b", 1) + END, budget)
    assert budget.bytes <= BUDGET


@pytest.mark.parametrize(
    "step",
    [extended(path="a"), header("@", 2, tarfile.GNUTYPE_LONGNAME) + b"a\0" + bytes(BLOCK - 2)],
    ids=["pax", "gnu"],
)
def test_headers_of_headers_end(tmp_path: Path, step: bytes) -> None:
    lay(tmp_path, step * 3 + header("b") + END, Budget(BUDGET))
    assert (tmp_path / "a").exists()
    with pytest.raises(BadLayer, match="archive"):
        lay(tmp_path, step * 5000 + header("b") + END, Budget(BUDGET))


@pytest.mark.parametrize(
    "data",
    [
        extended(GNU__sparse__map="a,b", GNU__sparse__size="1") + header("b"),
        extended(GNU__sparse__major="1", GNU__sparse__minor="0") + header("b", 1) + bytes(BLOCK),
        extended(linkpath="a\0b") + header("b", 0, tarfile.SYMTYPE),
        extended(path="a\0b") + header("b"),
        header("b", 0, tarfile.SYMTYPE),
    ],
    ids=["sparse map", "sparse block", "NUL in a target", "NUL in a name", "no target"],
)
def test_numbers_and_names_that_are_none(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(BadLayer):
        lay(tmp_path, data + END, Budget(BUDGET))
