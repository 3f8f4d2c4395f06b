"""The namespace backend keeps the contract, as root or rootless, whichever the tests run as."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from atoll.backends.namespace import NamespaceBackend, NamespaceConfig
from atoll.core.ports import Backend
from atoll.testing import BackendContract

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]


class TestNamespace(BackendContract):
    @pytest.fixture(scope="class")
    async def backend(
        self, tmp_path_factory: pytest.TempPathFactory
    ) -> AsyncGenerator[Backend, None]:
        place = Path(tmp_path_factory.mktemp("namespace"))
        async with NamespaceBackend(NamespaceConfig(place)) as backend:
            yield backend
