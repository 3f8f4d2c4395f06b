from collections.abc import AsyncGenerator, Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.http.rig import Web, served


@pytest.fixture
async def web() -> AsyncGenerator[Web, None]:
    """An application with the usual settings."""
    async with served() as found:
        yield found


@pytest.fixture(autouse=True)
def log() -> Iterator[list[MutableMapping[str, Any]]]:
    """What was logged, instead of logging it: a traceback is read from files, which blocks."""
    with capture_logs() as entries:
        yield entries
