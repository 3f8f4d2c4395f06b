"""The lock files name everything that pyproject.toml asks for, and no place to get it from."""

import re
import tomllib

import pytest

from tests.arch import tree

LOCKS = {"requirements.lock": ("deno", "postgres"), "requirements-dev.lock": ("dev",)}
PROJECT = tomllib.loads((tree.ROOT / "pyproject.toml").read_text())["project"]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _wanted(extras: tuple[str, ...]) -> set[str]:
    lines = list(PROJECT["dependencies"])
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    names = {_normal(re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0]) for line in lines}
    return names - {"atoll"}


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_lock_is_complete(name: str) -> None:
    text = (tree.ROOT / name).read_text()
    locked = {_normal(found) for found in re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE)}
    assert _wanted(LOCKS[name]) - locked == set()


@pytest.mark.parametrize("name", sorted(LOCKS))
def test_lock_names_no_index(name: str) -> None:
    text = (tree.ROOT / name).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(-index|-extra|-find|i |f )", text, re.MULTILINE)
