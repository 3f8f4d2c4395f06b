"""The source tree as data: what modules there are and what each imports, without importing them."""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src"
TESTS = ROOT / "tests"


@dataclass(frozen=True)
class Module:
    """One file of the package: its dotted name and its syntax tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def area(self) -> str:
        """The part of atoll it belongs to: `core`, `http`, `settings`; "" for atoll itself."""
        return [*self.name.split("."), ""][1]

    def imports(self) -> Iterator[str]:
        """Every module it names in an import, wherever in the file."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module or "."
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def modules() -> tuple[Module, ...]:
    """All modules of the package, by name."""
    found: list[Module] = []
    for path in sorted((SOURCE / "atoll").rglob("*.py")):
        parts = list(path.relative_to(SOURCE).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        found.append(Module(".".join(parts), path, ast.parse(path.read_text(), str(path))))
    return tuple(found)


def python_files() -> list[Path]:
    """Every Python file that people write, in the package and in the tests."""
    return sorted([*SOURCE.rglob("*.py"), *TESTS.rglob("*.py")])


def within(name: str, package: str) -> bool:
    """Tell whether a dotted name is that package or beneath it."""
    return name == package or name.startswith(f"{package}.")
