"""The wasm backend keeps the contract, as far as sandboxes without the host's programs can."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio.to_thread
import pytest

from atoll.backends.wasm import Program, WasmBackend
from atoll.bootstrap import wasm_backend
from atoll.core.ports import Backend
from atoll.settings import Settings
from atoll.testing import BackendContract
from tests.backends.wasm import building

WORDS = (
    "sh", "cat", "echo", "env", "false", "head", "ln", "mkdir", "printf", "pwd", "rm", "sleep",
    "touch", "true", "yes",
)  # fmt: skip
pytestmark = pytest.mark.anyio


@asynccontextmanager
async def carried(
    place: Path, workers: Literal["namespace", "plain"]
) -> AsyncGenerator[WasmBackend, None]:
    """A backend whose only programs are those that the contract needs."""
    toolbox = Program(await anyio.to_thread.run_sync(building.module, "toolbox"))
    settings = Settings(data_dir=place, wasm_workers=workers)
    async with wasm_backend(settings, programs=dict.fromkeys(WORDS, toolbox)) as backend:
        yield backend


@pytest.mark.needs("userns")
class TestWasm(BackendContract):
    @pytest.fixture(scope="class")
    async def backend(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> AsyncGenerator[Backend, None]:
        async with carried(Path(tmp_path_factory.mktemp("wasm")), "namespace") as backend:
            yield backend


class TestWasmInPlainWorkers(BackendContract):
    """Where there are no namespaces."""

    @pytest.fixture(scope="class")
    async def backend(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> AsyncGenerator[Backend, None]:
        async with carried(Path(tmp_path_factory.mktemp("plain")), "plain") as backend:
            yield backend
