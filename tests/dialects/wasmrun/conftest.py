from collections.abc import AsyncGenerator

import pytest

from tests.dialects.wasmrun.rig import Session, Spoken, speaking_wasmrun


@pytest.fixture(scope="session")
async def spoken(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Spoken, None]:
    """A server with the usual options, for tests that leave nothing behind."""
    async with speaking_wasmrun(tmp_path_factory.mktemp("wasmrun")) as found:
        yield found


@pytest.fixture
async def session(spoken: Spoken) -> AsyncGenerator[Session, None]:
    """A session of one's own."""
    made = await spoken.session()
    yield made
    await spoken.client.delete(f"/sessions/{made.id}")
