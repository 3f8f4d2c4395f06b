"""Statements in, rows out; errors of the database become ours here and nowhere else."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection, Executable, Row, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from atoll.core.errors import InvalidRequest
from atoll.storage.address import Address, fault
from atoll.storage.lanes import Lane

T = TypeVar("T")

MAX_PAGE = 100_000
MAX_INTEGER = 2**63 - 1


def check_page(limit: int) -> None:
    """`InvalidRequest` unless a page may have that size."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"limit must be between 1 and {MAX_PAGE}.", field="limit")


class Database:
    """A lane for reads and a lane for writes. `IntegrityError` is the one error let through."""

    def __init__(self, address: Address, *, reads: Lane, writes: Lane) -> None:
        self._address = address
        self._reads = reads
        self._writes = writes

    @property
    def address(self) -> Address:
        return self._address

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """An insert that knows ON CONFLICT."""
        if self._address.path is None:
            return postgresql.insert(table)
        return sqlite.insert(table)

    async def rows(
        self, statement: Executable, values: Mapping[str, Any] | None = None
    ) -> Sequence[Row[Any]]:
        """Everything that a query finds."""
        with self.translating():
            return await self._reads.run(lambda on: on.execute(statement, values).all())

    async def row(
        self, statement: Executable, values: Mapping[str, Any] | None = None
    ) -> Row[Any] | None:
        """The first row that a query finds."""
        with self.translating():
            return await self._reads.run(lambda on: on.execute(statement, values).first())

    async def write(self, statement: Executable, values: Mapping[str, Any] | None = None) -> int:
        """Run one statement as a transaction; how many rows it changed."""

        def work(on: Connection) -> int:
            options = {"preserve_rowcount": True}
            return on.execute(statement, values, execution_options=options).rowcount

        with self.translating():
            return await self._writes.run(work)

    async def write_returning(
        self, statement: Executable, values: Mapping[str, Any] | None = None
    ) -> Row[Any] | None:
        """Run one statement with RETURNING as a transaction; the row it changed."""
        with self.translating():
            return await self._writes.run(lambda on: on.execute(statement, values).first())

    async def transaction(self, work: Callable[[Connection], T]) -> T:
        """Several statements as one; writers come one after the other on SQLite."""
        with self.translating():
            return await self._writes.transact(work)

    @contextmanager
    def translating(self) -> Generator[None]:
        """Turn what a database raises into one of our errors."""
        try:
            yield
        except IntegrityError:
            raise
        except (DBAPIError, PoolTimeout, OSError) as error:
            raise fault(self._address, error) from error
