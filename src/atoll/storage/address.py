"""Which database a URL means, and sentences for what can be wrong with one."""

import os
from dataclasses import dataclass
from urllib.parse import quote

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from atoll.core.errors import AtollError, Busy, InvalidRequest, Unavailable


@dataclass(frozen=True, slots=True)
class Address:
    """A database. `path` is None for PostgreSQL, "" for an SQLite file that nobody will miss."""

    url: URL
    path: str | None

    def __str__(self) -> str:
        if self.path is not None:
            return self.path or "(temporary)"
        return self.url.render_as_string(hide_password=True)


def parse(url: str) -> Address:
    """`sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite://` (temporary), `postgresql://…`.

    Drivers may be named (`sqlite+pysqlite`, `postgresql+asyncpg`), others are `InvalidRequest`.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InvalidRequest("That is not a database URL.", field="database_url") from error
    if parsed.drivername in {"sqlite", "sqlite+pysqlite"}:
        if parsed.query:
            raise InvalidRequest("An sqlite URL takes no options.", field="database_url")
        path = "" if parsed.database in {None, "", ":memory:"} else str(parsed.database)
        return Address(_sqlite_url(path), path)
    if parsed.drivername in {"postgres", "postgresql", "postgresql+asyncpg"}:
        return Address(parsed.set(drivername="postgresql+asyncpg"), None)
    raise InvalidRequest(
        f"There is no store for {parsed.drivername!r}; use sqlite:///… or postgresql://….",
        field="database_url",
    )


def _sqlite_url(path: str) -> URL:
    """The file as a URI of SQLite's own, which may have any character and is used as it is."""
    return URL.create("sqlite", database=f"file:{quote(path)}", query={"uri": "true"})


_SQLITE_REMEDIES = {
    "unable to open": "check that its directory exists and that uid {uid} may write there",
    "no such file": "its directory does not exist",
    "permission denied": "it is not writable by uid {uid}",
    "readonly": "it is not writable by uid {uid}",
    "not a database": "it is damaged or something else; restore a backup or move it away",
    "malformed": "it is damaged; stop the server and restore a backup or move it away",
    "full": "free space on its disk",
    "interrupted": "the statement took too long and was stopped",
    "disk i/o": "check its disk",
}


def fault(address: Address, error: Exception) -> AtollError:
    """What to tell the caller when the database fails us."""
    if isinstance(error, PoolTimeout):
        return Busy("All connections to the database are in use.")
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    said = isinstance(cause, OSError) and cause.strerror
    reason = str(said or cause).partition("\n")[0].rpartition(">: ")[2].rstrip(".")
    if isinstance(cause, TimeoutError):
        reason = "it does not answer"
    reason = reason or type(cause).__name__
    if address.path is None:
        return Unavailable(f"The database {address} cannot be used: {reason}.")
    lowered = reason.lower()
    if "locked" in lowered or "busy" in lowered:
        return Busy(f"Another process is writing to the database {address}.")
    remedy = next((text for word, text in _SQLITE_REMEDIES.items() if word in lowered), None)
    advice = f"; {remedy.format(uid=os.getuid())}" if remedy else ""
    return Unavailable(f"The database {address} cannot be used: {reason}{advice}.")
