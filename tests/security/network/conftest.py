"""A backend whose sandboxes may have a network, and something outside for them to reach."""

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from atoll.backends.namespace import NamespaceBackend, NamespaceConfig
from atoll.backends.namespace.sandbox import NamespaceSandbox
from atoll.core.model import NetworkPolicy
from atoll.network.names import Upstream
from atoll.network.uplinks import RootUplinks
from atoll.testing.backend.running import fresh
from tests.security.network import outside

OWNER = "5ec0de0" + "0" * 57


@pytest.fixture(scope="package")
def world() -> Iterator[None]:
    with outside.hosts():
        yield


@pytest.fixture(scope="package")
async def networked(
    world: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[NamespaceBackend, None]:
    place = Path(tmp_path_factory.mktemp("networked"))
    upstream = Upstream([f"10.99.0.2#{outside.NAMES_PORT}"])
    uplinks = RootUplinks(OWNER, ask=upstream.ask)
    async with NamespaceBackend(NamespaceConfig(place, uplinks=uplinks)) as backend:
        yield backend


Opening = Callable[..., AbstractAsyncContextManager[NamespaceSandbox]]


@pytest.fixture
def opening(networked: NamespaceBackend) -> Opening:
    @asynccontextmanager
    async def opening(
        mode: str, allow: str = "", deny: str = ""
    ) -> AsyncGenerator[NamespaceSandbox]:
        policy = NetworkPolicy(mode, tuple(allow.split()), tuple(deny.split()))
        async with networked.open(fresh(network=policy)) as box:
            yield box

    return opening
