from collections.abc import AsyncGenerator

import pytest

from tests.dialects.run_dat_sheesh.rig import Spoken, speaking_sheesh


@pytest.fixture(scope="session")
async def spoken(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Spoken, None]:
    """A server with the usual options, for tests that leave nothing behind."""
    async with speaking_sheesh(tmp_path_factory.mktemp("sheesh")) as found:
        yield found


@pytest.fixture(scope="module")
async def vm(spoken: Spoken) -> AsyncGenerator[str, None]:
    """A VM for the tests of a file; its id."""
    found = await spoken.vm()
    yield found
    await spoken.client.delete(f"/v1/vms/{found}")
