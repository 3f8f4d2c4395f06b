"""The contract, on a server."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from atoll.storage.address import parse
from atoll.testing.store_contract import StoreContract


async def empty(url: str) -> None:
    engine = create_async_engine(parse(url).url)
    async with engine.begin() as connection:
        await connection.execute(text("DROP SCHEMA public CASCADE"))
        await connection.execute(text("CREATE SCHEMA public"))
    await engine.dispose()


@pytest.mark.needs("postgres")
@pytest.mark.blocking("asyncpg looks for ~/.pgpass whenever it connects")
class TestPostgres(StoreContract):
    opener = "atoll.storage:SqlStore.open"

    @pytest.fixture
    async def address(self, postgres_url: str) -> str:
        await empty(postgres_url)
        return postgres_url
