"""What the documentation says is there."""

import ast
import re
from pathlib import Path

import pytest

from atoll.core.errors import AtollError
from atoll.core.model import ExitReason
from tests.arch import tree

PAGES = sorted([*tree.ROOT.glob("*.md"), *(tree.ROOT / "docs").rglob("*.md")])
API = (tree.ROOT / "docs" / "api.md").read_text()


def _shown(path: Path) -> str:
    return str(path.relative_to(tree.ROOT))


@pytest.mark.parametrize("page", PAGES, ids=_shown)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [link.split("#")[0] for link in links if "://" not in link and not link.startswith("#")]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=_shown)
def test_python_examples_compile(page: Path) -> None:
    for example in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
        compile(example, page.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_every_page_is_in_the_menu() -> None:
    menu = (tree.ROOT / "mkdocs.yml").read_text()
    pages = {str(path.relative_to(tree.ROOT / "docs")) for path in PAGES if "docs" in path.parts}
    assert {page for page in pages if f": {page}" not in menu} == set()
    assert set(re.findall(r": (\S+\.md)$", menu, re.MULTILINE)) - pages == set()


def test_every_error_code_is_documented() -> None:
    kinds = [AtollError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    for kind in kinds:
        row = re.search(rf"^\| `{kind.code}` \|.*\| (yes|no) \|$", API, re.MULTILINE)
        assert row, f"docs/api.md lacks the error code {kind.code}"
        assert (row[1] == "yes") is kind.retryable, kind.code


@pytest.mark.parametrize("reason", list(ExitReason))
def test_every_exit_reason_is_documented(reason: ExitReason) -> None:
    assert f"\n| `{reason}` |" in API


def test_make_targets_of_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (tree.ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        found
        for page in PAGES
        for found in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)
    }
    assert named - targets == set()
