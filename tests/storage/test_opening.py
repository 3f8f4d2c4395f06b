"""Opening: new files, old ones, newer ones, damaged ones, and none."""

import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from sqlalchemy import create_engine

from atoll.core.errors import Busy, Unavailable
from atoll.service.audit_check import check_store
from atoll.storage import SqlStore
from atoll.storage.migrate import upgrade
from atoll.storage.schema import REVISION
from atoll.testing.store.samples import TENANT, event, sandbox

pytestmark = pytest.mark.anyio

ALEMBIC = "it reads its files, before anything is served"


def query(path: Path, sql: str) -> Sequence[tuple[str, ...]]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


async def refusal(path: Path | str) -> str:
    with pytest.raises(Unavailable) as caught:
        async with SqlStore.open(f"sqlite:///{path}"):
            pass
    assert str(path) in caught.value.detail
    return caught.value.detail


async def test_the_file_is_ours_alone(tmp_path: Path) -> None:
    async with SqlStore.open(f"sqlite:///{tmp_path}/a.db") as store:
        await store.add_sandbox(sandbox(1))
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert modes == {"a.db": 0o600, "a.db-wal": 0o600, "a.db-shm": 0o600}
    assert [p.name for p in tmp_path.iterdir()] == ["a.db"]


async def test_odd_file_names(tmp_path: Path) -> None:
    folder = tmp_path / "a b#c?d%41é"
    folder.mkdir()
    address = f"sqlite:///{tmp_path}/a b%23c%3Fd%2541é/x.db"
    async with SqlStore.open(address.replace("%23", "#").replace("%3F", "%3F")) as store:
        await store.add_sandbox(sandbox(1))
    assert (folder / "x.db").exists()


async def test_a_database_without_a_file_goes_with_the_block() -> None:
    for url in ("sqlite://", "sqlite+pysqlite://"):
        async with SqlStore.open(url) as one, SqlStore.open(url) as two:
            await one.add_sandbox(sandbox(1))
            assert await one.get_sandbox(TENANT, sandbox(1).id) == sandbox(1)
            assert await two.get_sandbox(TENANT, sandbox(1).id) is None


async def test_what_is_not_a_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_text("hello, world\n" * 1000)
    assert "damaged or something else" in await refusal(path)
    assert path.read_text() == "hello, world\n" * 1000


async def test_a_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with SqlStore.open(f"sqlite:///{path}") as store:
        await store.add_sandbox(sandbox(1))
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(Unavailable) as caught:
        async with SqlStore.open(f"sqlite:///{path}") as store:
            await store.add_sandbox(sandbox(2))
    assert "restore a backup" in caught.value.detail


async def test_places_where_no_file_can_be(tmp_path: Path) -> None:
    assert "No such file" in await refusal(tmp_path / "missing" / "a.db")
    assert "unable to open" in await refusal(tmp_path)
    await refusal("/proc/atoll.db")


@pytest.mark.needs("rootless")
async def test_a_file_that_may_not_be_written(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with SqlStore.open(f"sqlite:///{path}"):
        pass
    path.chmod(0o400)
    assert "not writable by uid" in await refusal(path)


@pytest.mark.blocking(ALEMBIC)
async def test_a_newer_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with SqlStore.open(f"sqlite:///{path}"):
        pass
    query(path, "UPDATE alembic_version SET version_num = '9999'")
    before = path.read_bytes()
    detail = await refusal(path)
    assert "newer Atoll" in detail
    assert "9999" in detail
    assert REVISION in detail
    assert path.read_bytes() == before


def test_alembic_is_not_imported_without_need(tmp_path: Path) -> None:
    code = (
        f"import sys, anyio; sys.path[:] = {sys.path!r}\n"
        "from atoll.storage import SqlStore\n"
        "async def main():\n"
        f"    async with SqlStore.open('sqlite:///{tmp_path}/a.db'): pass\n"
        "anyio.run(main); anyio.run(main)\n"
        "print(sorted(m for m in sys.modules if m in ('alembic', 'asyncpg')))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def described(path: Path) -> dict[str, object]:
    tables = query(path, "SELECT name, name FROM sqlite_master WHERE type = 'table'")
    return {
        name: (
            query(path, f"SELECT name, type, [notnull], pk FROM pragma_table_info('{name}')"),
            sorted(
                (index[0], index[1], query(path, f"PRAGMA index_info('{index[0]}')"))
                for index in query(
                    path,
                    f"SELECT name, [unique] || origin || partial FROM pragma_index_list('{name}')",
                )
            ),
            query(path, f"PRAGMA foreign_key_list('{name}')"),
        )
        for name, _ in sorted(tables)
    }


@pytest.mark.blocking(ALEMBIC)
async def test_the_migrations_end_in_the_schema(tmp_path: Path) -> None:
    migrated, made = tmp_path / "migrated.db", tmp_path / "made.db"
    engine = create_engine(f"sqlite:///{migrated}")
    with engine.begin() as connection:
        upgrade(connection, "here", None)
    engine.dispose()
    async with SqlStore.open(f"sqlite:///{made}"):
        pass
    assert described(migrated) == described(made)
    assert query(migrated, "SELECT version_num FROM alembic_version") == [(REVISION,)]


@pytest.mark.blocking(ALEMBIC)
async def test_an_older_database_is_upgraded(tmp_path: Path) -> None:
    """Until there is a second revision: a database that Alembic has made, but not filled."""
    path = tmp_path / "a.db"
    query(path, "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
    for _ in range(2):
        async with SqlStore.open(f"sqlite:///{path}") as store:
            await store.list_sandboxes()
    assert query(path, "SELECT version_num FROM alembic_version") == [(REVISION,)]


@pytest.mark.blocking(ALEMBIC)
async def test_events_of_an_older_database_get_their_hashes(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        upgrade(connection, "here", None, to="0001")
    engine.dispose()
    query(
        path,
        "INSERT INTO events (seq, at, tenant, actor, action, outcome, sandbox_id, detail) "
        "WITH RECURSIVE n(seq) AS (SELECT 1 UNION ALL SELECT seq + 1 FROM n WHERE seq < 1205) "
        "SELECT seq, seq + 0.25, 'reef', 'a\\u0000', 'run', 'ok', NULL, '{\"n\":\"1\"}' FROM n",
    )
    query(path, "INSERT INTO counters VALUES ('events', 1205)")
    async with SqlStore.open(f"sqlite:///{path}") as store:
        (new,) = await store.add_events([event()])
        assert new.seq == 1206
        verdict = await check_store(store, [])
        assert (verdict.fault, verdict.count) == (None, 1206)


async def test_another_programs_lock_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with SqlStore.open(f"sqlite:///{path}") as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        async with anyio.create_task_group() as group:
            group.start_soon(store.add_sandbox, sandbox(1))
            assert await store.get_sandbox(TENANT, sandbox(1).id) is None
            other.execute("COMMIT")
        other.close()
        assert await store.get_sandbox(TENANT, sandbox(1).id) == sandbox(1)


async def test_a_lock_that_stays_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.storage.opening.BUSY_S", 0.01)
    path = tmp_path / "a.db"
    async with SqlStore.open(f"sqlite:///{path}") as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy):
            await store.add_sandbox(sandbox(1))
        other.close()
        await store.add_sandbox(sandbox(1))
