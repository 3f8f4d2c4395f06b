"""The real backend, and sandboxes of both shapes for the attacks to run in."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from atoll.backends.namespace import NamespaceBackend, NamespaceConfig
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import fresh


@pytest.fixture(scope="session")
async def backend(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncGenerator[NamespaceBackend, None]:
    config = NamespaceConfig(
        Path(tmp_path_factory.mktemp("security")), preload=(("ssl", "uuid", "secrets"), ("numpy",))
    )
    async with NamespaceBackend(config) as backend:
        yield backend


@pytest.fixture(params=["fresh", "kept"])
async def box(
    backend: NamespaceBackend, request: pytest.FixtureRequest
) -> AsyncGenerator[Sandbox, None]:
    """A new sandbox: a one-shot (the warm path), and one that keeps its files."""
    spec = fresh(persistent=request.param == "kept")
    async with backend.open(spec) as box:
        yield box
    await backend.destroy(spec.id)


@pytest.fixture
async def one_shot(backend: NamespaceBackend) -> AsyncGenerator[Sandbox, None]:
    """A new one-shot, where the shape makes no difference."""
    async with backend.open(fresh()) as box:
        yield box
