"""One server for the end-to-end tests that do not stop it."""

from collections.abc import Iterator

import pytest

from tests.e2e.server import Server, serving


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that all of these tests share."""
    with serving(tmp_path_factory.mktemp("e2e") / "data") as running:
        yield running
