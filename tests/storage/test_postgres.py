"""The contract, on a server; and what is said when there is none."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from atoll.core.errors import Unavailable
from atoll.storage import SqlStore
from atoll.storage.address import parse
from atoll.testing.store.samples import TENANT, sandbox
from atoll.testing.store_contract import StoreContract

CONNECTS = "asyncpg looks for ~/.pgpass whenever it connects"


async def run(url: str, *statements: str) -> list[tuple[object, ...]]:
    """The rows of the last one, if it has any."""
    rows: list[tuple[object, ...]] = []
    engine = create_async_engine(parse(url).url)
    async with engine.begin() as connection:
        for statement in statements:
            result = await connection.execute(text(statement))
            rows = [tuple(row) for row in result] if result.returns_rows else []
    await engine.dispose()
    return rows


async def empty(url: str) -> None:
    await run(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")


async def refusal(url: str) -> str:
    with pytest.raises(Unavailable) as caught:
        async with SqlStore.open(url):
            pass
    return caught.value.detail


async def described(url: str) -> list[tuple[object, ...]]:
    columns = await run(
        url,
        "SELECT table_name, column_name, data_type, is_nullable, collation_name, column_default "
        "FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 2",
    )
    indexes = await run(
        url,
        "SELECT tablename, indexname, indexdef FROM pg_indexes "
        "WHERE schemaname = 'public' ORDER BY 1, 2",
    )
    return columns + indexes


@pytest.mark.needs("postgres")
@pytest.mark.blocking(CONNECTS)
class TestPostgres(StoreContract):
    opener = "atoll.storage:SqlStore.open"

    @pytest.fixture
    async def address(self, postgres_url: str) -> str:
        await empty(postgres_url)
        return postgres_url

    async def test_a_newer_database_is_refused(self, address: str) -> None:
        async with SqlStore.open(address):
            pass
        await run(address, "UPDATE alembic_version SET version_num = '9999'")
        assert "newer Atoll (schema revision 9999" in await refusal(address)

    async def test_a_database_that_is_not_there(self, postgres_url: str) -> None:
        url = parse(postgres_url).url.set(database="atoll_no_such_database")
        said = await refusal(url.render_as_string(hide_password=False))
        assert 'database "atoll_no_such_database" does not exist' in said

    async def test_lost_connections_are_made_anew(self, address: str) -> None:
        async with SqlStore.open(address) as store:
            await store.add_sandbox(sandbox(1))
            await run(
                address,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid <> pg_backend_pid() AND datname = current_database()",
            )
            assert await store.get_sandbox(TENANT, sandbox(1).id) == sandbox(1)
            await store.add_sandbox(sandbox(2))

    async def test_the_migrations_end_in_the_schema(self, address: str) -> None:
        async with SqlStore.open(address):
            pass
        made = await described(address)
        await empty(address)
        await run(address, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        async with SqlStore.open(address):
            pass
        assert await described(address) == made


@pytest.mark.anyio
@pytest.mark.blocking(CONNECTS)
async def test_no_server_is_a_sentence() -> None:
    said = await refusal("postgresql://atoll:secret@127.0.0.1:1/atoll")
    assert "127.0.0.1:1/atoll cannot be used" in said
    assert "failed" in said
    assert "secret" not in said
