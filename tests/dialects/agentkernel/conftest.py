from collections.abc import AsyncGenerator, Iterator

import pytest

from tests.dialects.agentkernel.rig import Spoken, speaking_agentkernel
from tests.e2e.server import Server, free_port, serving


@pytest.fixture(scope="session")
async def spoken(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Spoken, None]:
    """A server with the usual options, for tests that leave nothing behind."""
    async with speaking_agentkernel(tmp_path_factory.mktemp("agentkernel")) as found:
        yield found


@pytest.fixture
async def box(spoken: Spoken) -> AsyncGenerator[str, None]:
    """A sandbox of one's own; its name."""
    await spoken.post("/sandboxes", {"name": "box"}, 201)
    yield "box"
    await spoken.client.delete("/sandboxes/box")


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """A server as a person starts it, and the address of the dialect's own port."""
    port = free_port()
    data = tmp_path_factory.mktemp("served") / "data"
    with serving(data, "--dialect", f"agentkernel=127.0.0.1:{port}") as server:
        yield server, f"http://127.0.0.1:{port}"
