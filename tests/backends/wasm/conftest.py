"""A wasm backend without languages, and ways to run modules in it."""

from collections.abc import AsyncGenerator
from pathlib import Path

import anyio.to_thread
import pytest

from atoll.backends.wasm import WasmBackend
from atoll.bootstrap import wasm_backend
from atoll.core.ports import Sandbox
from atoll.settings import Settings
from atoll.testing.backend.running import fresh
from tests.backends.wasm import building

WORKERS = [pytest.param("namespace", marks=pytest.mark.needs("userns")), "plain"]


@pytest.fixture(scope="package", params=WORKERS)
async def backend(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[WasmBackend, None]:
    place = Path(tmp_path_factory.mktemp("wasm"))
    settings = Settings(data_dir=place, wasm_workers=request.param)
    async with wasm_backend(settings, programs={}) as backend:
        yield backend


@pytest.fixture
async def box(backend: WasmBackend) -> AsyncGenerator[Sandbox, None]:
    async with backend.open(fresh()) as box:
        yield box


@pytest.fixture(scope="package")
async def wasi() -> bytes:
    path = await anyio.to_thread.run_sync(building.module, "wasi")
    return path.read_bytes()
