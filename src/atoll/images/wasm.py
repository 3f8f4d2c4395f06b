"""What a sandbox needs to run WebAssembly: the program `atoll-wasm` and the engine beneath it."""

import importlib.util
from pathlib import Path

from atoll.images.languages import BESIDE

LIBRARY = "/opt/atoll/lib"
_RUNNER = "atoll.guest.wasm"


def program() -> tuple[tuple[str, str], ...]:
    """(host path, path in the image) pairs to bind; none where wasmtime is not installed."""
    engine, runner = _package("wasmtime"), _package(_RUNNER)
    if engine is None or runner is None:
        return ()
    return (
        (str(engine), f"{LIBRARY}/wasmtime"),
        (str(runner), f"{LIBRARY}/{_RUNNER.replace('.', '/')}"),
        (str(runner / "atoll-wasm"), f"{BESIDE}/atoll-wasm"),
    )


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    places = [] if spec is None else list(spec.submodule_search_locations or [])
    return Path(places[0]).resolve() if places else None
