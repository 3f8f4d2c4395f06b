import sqlite3

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from atoll.core.errors import Busy, InvalidRequest, Unavailable
from atoll.storage.address import fault, parse


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+pysqlite"])
def test_sqlite(driver: str) -> None:
    assert parse(f"{driver}:////var/lib/x.db").path == "/var/lib/x.db"
    assert parse(f"{driver}:///x.db").path == "x.db"
    for nowhere in ("://", ":///", ":///:memory:"):
        assert parse(driver + nowhere).path == ""


@pytest.mark.parametrize("driver", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_postgres_never_shows_the_password(driver: str) -> None:
    address = parse(f"{driver}://me:secret@db.example:5433/atoll?ssl=require")
    assert address.path is None
    assert address.url.drivername == "postgresql+asyncpg"
    assert address.url.password == "secret"
    assert "secret" not in str(address)
    assert "secret" not in fault(address, OSError("refused")).detail


@pytest.mark.parametrize(
    "url", ["", "atoll.db", "mysql://x/y", "postgresql+psycopg://x/y", "sqlite:///x?mode=ro", "::"]
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(url)
    assert caught.value.field == "database_url"


def test_a_fault_is_a_sentence() -> None:
    address = parse("sqlite:////data/atoll.db")
    full = OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full"))
    assert fault(address, full).detail == (
        "The database /data/atoll.db cannot be used: database or disk is full; "
        "free space on its disk."
    )
    other = fault(address, PermissionError(13, "Permission denied"))
    assert isinstance(other, Unavailable)
    assert "Permission denied" in other.detail
    assert "it does not answer" in fault(address, TimeoutError()).detail


def test_what_passes_is_busy() -> None:
    address = parse("sqlite:////data/atoll.db")
    locked = OperationalError("INSERT", {}, sqlite3.OperationalError("database is locked"))
    assert isinstance(fault(address, locked), Busy)
    assert isinstance(fault(address, PoolTimeout()), Busy)
