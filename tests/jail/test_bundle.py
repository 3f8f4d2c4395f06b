"""What is shipped to a bare python3 needs nothing but that python3."""

import ast
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from atoll.jail import bundle, zygote

VERSIONS = ("3.11", "3.12", "3.13")


def imports(module: str) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(bundle.source(module))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, module
            name = node.module or ""
            found.update(
                f"{name}.{alias.name}" if f"{name}.{alias.name}" in bundle.MODULES else name
                for alias in node.names
            )
    return found


@pytest.mark.parametrize("module", bundle.MODULES)
def test_only_the_standard_library_and_each_other(module: str) -> None:
    for name in imports(module):
        top = name.partition(".")[0]
        if top == "wasmtime" and module.startswith("atoll.guest.wasm."):
            continue  # bound into the image, and imported where a module is run
        assert name in bundle.MODULES or top in sys.stdlib_module_names, f"{module}: {name}"
        assert top != "atoll" or name in bundle.MODULES


def test_everything_shipped_is_used() -> None:
    used = set[str]().union(*(imports(module) for module in bundle.MODULES))
    # A preload of the wasm backend, and the three entries.
    entries = {"atoll.guest.wasm.warm", "atoll.jail.launch", "atoll.jail.maker", "atoll.jail.plain"}
    assert set(bundle.MODULES) - used == entries - used


def test_all_that_workers_import_late_is_compiled_early() -> None:
    late, todo = set[str](), {"atoll.guest.work"}
    early = {"atoll.wire.message", "atoll.wire.paths"}
    while todo:
        late |= todo
        found = {name for module in todo for name in imports(module)}
        todo = (found & set(bundle.MODULES)) - late - early
    assert set(zygote.LATE) == late


def interpreter(version: str) -> str | None:
    """A python3 of that version, of whoever has installed it."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found: list[Path] = []
    with contextlib.suppress(OSError):
        found += sorted(home.glob(f"versions/{version}.*/bin/python3"))
    found += [Path(place) / f"python{version}" for place in os.environ["PATH"].split(":")]
    return next((str(path) for path in found if os.access(path, os.X_OK)), None)


@pytest.mark.parametrize("version", VERSIONS)
def test_it_compiles_without_a_warning(version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no python{version} here")
    sources = {name: bundle.source(name) for name in bundle.MODULES}
    code = (
        "import ast, sys\n"
        "for name, text in ast.literal_eval(sys.stdin.read()).items():\n"
        "    compile(text, name, 'exec')\n"
        "print(sys.version_info[:2])\n"
    )
    done = subprocess.run(
        [python, "-I", "-W", "error", "-c", code],
        input=repr(sources), capture_output=True, text=True, timeout=15, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.strip() == str(tuple(int(part) for part in version.split(".")))


@pytest.mark.parametrize("version", VERSIONS)
def test_it_is_imported_by_a_bare_interpreter(version: str) -> None:
    """Every module, through the loader, with neither site-packages nor our files in reach."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no python{version} here")
    fd = bundle.pack({"data": "all"})
    text = os.pread(fd, 1 << 24, 0).decode()
    os.close(fd)
    head, _, tail = text.partition("_run(_config)")
    code = f"{head}\nprint(sorted(n for n in sys.modules if n.startswith('atoll.')))\n{tail}"
    done = subprocess.run(
        [python, "-I", "-S", "-"],
        input=code, capture_output=True, text=True, timeout=15, check=False, cwd="/",
    )  # fmt: skip
    assert done.stderr == ""
    assert set(bundle.MODULES) <= set(ast.literal_eval(done.stdout))


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(ModuleNotFoundError):
        bundle.source("atoll.nothing")
