"""The contract, on a file."""

from pathlib import Path

import pytest

from atoll.testing.store_contract import StoreContract


class TestSqlite(StoreContract):
    opener = "atoll.storage:SqlStore.open"

    @pytest.fixture
    def address(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/atoll.db"
