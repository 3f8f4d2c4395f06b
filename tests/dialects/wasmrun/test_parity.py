"""Each line of the parity table is proved by a test, and the page is made from it."""

import ast
from pathlib import Path

import pytest

from atoll.dialects import DIALECTS, page
from atoll.http.parity import Line, Parity, partial
from tests.arch import tree


def _proved(folder: Path) -> set[str]:
    """The keys that tests of a folder are marked with."""
    found: set[str] = set()
    for path in folder.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.parity":
                found |= {str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)}
    return found


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_every_line_is_a_test(name: str) -> None:
    proved = _proved(tree.TESTS / "dialects" / name.replace("-", "_"))
    assert DIALECTS[name].parity.keys - proved == set(), "lines without a test"
    assert proved - DIALECTS[name].parity.keys == set(), "tests of no line"


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_the_page_is_made_from_the_data(name: str) -> None:
    written = (tree.ROOT / "docs" / "dialects" / f"{name}.md").read_text()
    assert written == page(name), f"run: python -m atoll.dialects {name} > docs/dialects/{name}.md"


def test_a_line_that_is_not_whole_needs_a_reason() -> None:
    with pytest.raises(ValueError, match="reason: a"):
        Parity({"s": [partial("a", "w", "")]})
    with pytest.raises(ValueError, match="same key: a"):
        Parity({"s": [Line("a", "w")], "t": [Line("a", "w")]})
