"""Small files with honest names."""

import ast
import re
from pathlib import Path

import pytest

from tests.arch import tree

MOST_LINES = 500
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc", "base", "stuff"}
# Parts of the tests that mirror no part of the package.
OWN_TEST_FOLDERS = {"arch", "api", "e2e", "restart", "security", "soak", "perf", "typing"}
# Where catching everything is the point: one request, one sandbox, one sweep must not end the rest,
# and what the guest's own program raises is the guest's.
MAY_CATCH_ALL = (
    "atoll.guest.python",
    "atoll.network.proxying",
    "atoll.guest.scripts.run",
    "atoll.http.",
    "atoll.service.janitor",
    "atoll.service.keeper",
    "atoll.service.pool",
    "atoll.service.reconcile",
    "atoll.network.resolver",  # one guest's question
)


def _shown(path: Path) -> str:
    return str(path.relative_to(tree.ROOT))


@pytest.mark.parametrize("path", tree.python_files(), ids=_shown)
def test_no_file_is_long(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MOST_LINES, f"{_shown(path)} has {lines} lines: split it along a seam"


def test_names_say_what_is_inside() -> None:
    wrong = [
        _shown(path)
        for path in tree.python_files()
        if EMPTY_NAMES & set(re.split(r"[_/]", str(path.relative_to(tree.ROOT).with_suffix(""))))
    ]
    assert wrong == []


def test_no_class_is_a_manager() -> None:
    wrong = [
        f"{module.name}.{node.name}"
        for module in tree.modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef) and re.search(r"(Manager|Helper|Utils?)$", node.name)
    ]
    assert wrong == []


def test_every_module_says_what_it_is() -> None:
    wrong = [module.name for module in tree.modules() if module.tree.body and not _document(module)]
    assert wrong == []


def _document(module: tree.Module) -> str | None:
    return ast.get_docstring(module.tree)


def test_tests_mirror_the_package() -> None:
    packages = {path.stem for path in (tree.SOURCE / "atoll").iterdir()}
    folders = {path.name for path in tree.TESTS.iterdir() if any(path.glob("test_*.py"))}
    assert folders - packages - OWN_TEST_FOLDERS == set()


def test_few_places_catch_everything() -> None:
    wrong = [
        f"{module.name}:{node.lineno}"
        for module in tree.modules()
        for function in ast.walk(module.tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) and not _ends(function)
        for node in ast.walk(function)
        if isinstance(node, ast.ExceptHandler)
        and _catches_all(node)
        and not module.name.startswith(MAY_CATCH_ALL)
    ]
    assert wrong == []


def _ends(function: ast.AST) -> bool:
    """Tell a forked child's last function: whatever happens in it, `os._exit` follows."""
    return any(
        isinstance(node, ast.Attribute) and node.attr == "_exit" for node in ast.walk(function)
    )


def _catches_all(handler: ast.ExceptHandler) -> bool:
    """Tell `except:` and `except Exception:` that swallow; one that raises again only cleans up."""
    caught = handler.type
    names = {"Exception", "BaseException"}
    everything = caught is None or (isinstance(caught, ast.Name) and caught.id in names)
    return everything and not any(isinstance(node, ast.Raise) for node in ast.walk(handler))


def test_tests_do_not_sleep() -> None:
    """A wait on purpose says so: `# waits on purpose: why` on its line."""
    wrong: list[str] = []
    for path in sorted(tree.TESTS.rglob("*.py")):
        text = path.read_text()
        lines = text.splitlines()
        wrong += [
            f"{_shown(path)}:{call.lineno}"
            for call in ast.walk(ast.parse(text))
            if isinstance(call, ast.Call)
            and _sleeps(call)
            and "# waits on purpose" not in lines[call.lineno - 1]
        ]
    assert wrong == []


def _sleeps(call: ast.Call) -> bool:
    function = call.func
    if not (isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)):
        return False
    known = function.value.id in {"time", "anyio", "asyncio"}
    return known and function.attr == "sleep" and ast.unparse(call.args[0]) not in {"0", "math.inf"}
