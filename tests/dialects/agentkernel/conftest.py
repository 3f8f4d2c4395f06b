from collections.abc import AsyncGenerator

import pytest

from tests.dialects.agentkernel.rig import Spoken, speaking_agentkernel


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
