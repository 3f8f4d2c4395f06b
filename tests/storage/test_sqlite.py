"""The contract, on a file."""

from pathlib import Path

import pytest

from atoll.core.store import Store
from atoll.storage import SqlStore
from atoll.testing.store_contract import StoreContract


class TestSqlite(StoreContract):
    opener = "atoll.storage:SqlStore.open"

    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/atoll.db"


def conforms(store: SqlStore) -> Store:
    """Read by the type checkers."""
    return store
