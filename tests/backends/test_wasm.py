"""The wasm backend keeps the contract, as far as sandboxes without the host's programs can."""

from collections.abc import AsyncGenerator
from pathlib import Path

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
pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]


class TestWasm(BackendContract):
    @pytest.fixture(scope="class")
    async def backend(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> AsyncGenerator[Backend, None]:
        toolbox = Program(await anyio.to_thread.run_sync(building.module, "toolbox"))
        place = Path(tmp_path_factory.mktemp("wasm"))
        backend: WasmBackend = wasm_backend(
            Settings(data_dir=place), programs=dict.fromkeys(WORDS, toolbox)
        )
        async with backend:
            yield backend
