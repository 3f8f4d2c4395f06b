"""The direction of imports, and that importing does nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.arch import tree

ONLY_STANDARD_LIBRARY = ("atoll.core", "atoll.wire", "atoll.guest")
CONCRETE = ("atoll.backends", "atoll.storage", "atoll.images", "atoll.network", "atoll.jail")
# Who may name what; bootstrap and the command line put things together.
FORBIDDEN = {
    "http": CONCRETE,
    "dialects": CONCRETE,
    "console": CONCRETE,
    "harness": CONCRETE,
    "service": (*CONCRETE, "atoll.http", "atoll.settings", "fastapi", "starlette", "pydantic"),
    "client": (
        "atoll.core", "atoll.wire", "atoll.service", "atoll.http", "atoll.settings", "fastapi",
        "sqlalchemy", "uvicorn", *CONCRETE,
    ),
    "guest": ("atoll.core", "atoll.jail", "anyio"),
    "testing": (*CONCRETE, "atoll.service", "atoll.http"),
}  # fmt: skip
IMPURE = {"asyncio", "anyio", "os", "socket", "subprocess", "threading", "time"}


def test_import_contracts() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [linter, "--no-cache"],
        cwd=tree.ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ONLY_STANDARD_LIBRARY)
def test_only_the_standard_library(package: str) -> None:
    allowed = sys.stdlib_module_names | {"atoll"}
    wrong = [
        f"{module.name} imports {name}"
        for module in tree.modules()
        if tree.within(module.name, package)
        for name in module.imports()
        if name.split(".")[0] not in allowed
        # The engine is bound into the image beside the runner, and only the runner imports it.
        and not (name.startswith("wasmtime") and module.name.startswith("atoll.guest.wasm."))
    ]
    assert wrong == []


def test_the_core_is_pure() -> None:
    wrong = [
        f"{module.name} imports {name}"
        for module in tree.modules()
        if module.area == "core"
        for name in module.imports()
        if name.split(".")[0] in IMPURE or name == "pathlib.Path"
    ]
    assert wrong == []


@pytest.mark.parametrize("area", sorted(FORBIDDEN))
def test_what_an_area_may_not_name(area: str) -> None:
    wrong = {
        f"{module.name} imports {name}"
        for module in tree.modules()
        if module.area == area
        for name in module.imports()
        for package in FORBIDDEN[area]
        if tree.within(name, package)
    }
    assert wrong == set()


@pytest.mark.parametrize("family", ["backends", "dialects"])
def test_members_of_a_family_do_not_know_each_other(family: str) -> None:
    folder = tree.SOURCE / "atoll" / family
    members = {
        path.stem for path in folder.glob("*") if path.stem not in {"__init__", "__pycache__"}
    }
    wrong: set[str] = set()
    for module in tree.modules():
        own = module.name.split(".")[2:3]
        if module.area != family or not own:
            continue
        for other in members - set(own):
            package = f"atoll.{family}.{other}"
            wrong |= {
                f"{module.name} imports {n}" for n in module.imports() if tree.within(n, package)
            }
    assert wrong == set()


def test_no_relative_imports() -> None:
    wrong = [module.name for module in tree.modules() if "." in set(module.imports())]
    assert wrong == []


# Runs in a fresh interpreter: importing must open no socket, write no file, start no process.
IMPORT_ALL = """
import importlib, os, sys
refused = ("socket.connect", "socket.bind", "subprocess.Popen", "os.fork", "os.exec", "os.mkdir",
           "os.remove", "os.rename", "os.system", "os.posix_spawn", "sqlite3.connect")
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
names = sys.argv[1:]
active = True
def watch(event, args):
    if not active:
        return
    if event in refused:
        raise RuntimeError(f"{event} {args!r} while importing {current}")
    if event == "open" and args[0] != os.devnull and isinstance(args[2], int) and args[2] & writing:
        raise RuntimeError(f"open {args!r} for writing while importing {current}")
sys.addaudithook(watch)
failed = []
for current in names:
    try:
        importlib.import_module(current)
    except BaseException as error:
        failed.append(f"{current}: {type(error).__name__}: {error}")
active = False
import threading
threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
if threads:
    failed.append(f"threads: {threads}")
print("\\n".join(failed))
"""


def test_importing_does_nothing() -> None:
    names = [module.name for module in tree.modules() if not module.name.endswith("__main__")]
    names = [name for name in names if ".migrations." not in name]
    done = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL, *names],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.strip() == "", done.stdout
    assert done.returncode == 0, done.stderr
