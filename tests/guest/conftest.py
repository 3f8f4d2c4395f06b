"""The real backend, one for all."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from atoll.backends.namespace import NamespaceBackend, NamespaceConfig


@pytest.fixture(scope="session")
async def backend(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[NamespaceBackend, None]:
    place = Path(tmp_path_factory.mktemp("guest"))
    async with NamespaceBackend(NamespaceConfig(place)) as backend:
        yield backend
