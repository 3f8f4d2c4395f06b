import pytest
import typer

from atoll.cli.copy import _split
from atoll.cli.options import pairs
from atoll.cli.run import in_bytes


def test_pairs() -> None:
    assert pairs(["a=1", "b=x=y", "c="], "--env") == {"a": "1", "b": "x=y", "c": ""}
    assert pairs(None, "--env") is None
    with pytest.raises(typer.BadParameter):
        pairs(["=1"], "--env")


@pytest.mark.parametrize(("text", "size"), [("256M", 256 << 20), ("2g", 2 << 30), ("77", 77)])
def test_sizes(text: str, size: int) -> None:
    assert in_bytes(text, "--memory") == size


@pytest.mark.parametrize("text", ["", "M", "1.5G", "-1", "1X"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        in_bytes(text, "--memory")


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("box:a/b", ("box", "a/b")),
        ("box:/tmp/x", ("box", "/tmp/x")),
        ("box:", ("box", ".")),
        ("./a:b", None),
        ("dir/a:b", None),
        ("plain", None),
        (":x", None),
    ],
)
def test_places(place: str, found: tuple[str, str] | None) -> None:
    assert _split(place) == found
