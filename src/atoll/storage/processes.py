"""Processes of persistent sandboxes, with their exits."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, bindparam, select, update
from sqlalchemy.exc import IntegrityError

from atoll.core.errors import Conflict, NotFound
from atoll.core.model import Exit, ExitReason, Usage
from atoll.core.records import ProcessRecord
from atoll.storage.columns import strings
from atoll.storage.database import MAX_INTEGER, Database
from atoll.storage.schema import processes

_T = processes.c

_OF_SANDBOX = select(processes).where(_T.sandbox_id == bindparam("the_sandbox")).order_by(_T.number)
_ONE = select(processes).where(
    _T.sandbox_id == bindparam("the_sandbox"), _T.number == bindparam("the_number")
)
_UNFINISHED = select(processes).where(_T.exit.is_(None)).order_by(_T.sandbox_id, _T.number)
_SAVE = (
    update(processes)
    .where(_T.sandbox_id == bindparam("the_sandbox"), _T.number == bindparam("the_number"))
    .values(
        {
            column: bindparam(f"new_{column.name}", type_=column.type)
            for column in _T
            if not column.primary_key
        }
    )
)


def _exit_values(ended: Exit | None) -> dict[str, Any] | None:
    if ended is None:
        return None
    return {
        "code": ended.code,
        "reason": ended.reason.value,
        "signal": ended.signal,
        "truncated": ended.truncated,
        "wall_s": ended.usage.wall_s,
        "cpu_s": ended.usage.cpu_s,
        "peak_memory_bytes": ended.usage.peak_memory_bytes,
        "detail": ended.detail,
        "results": list(ended.results),
    }


def _exit(values: dict[str, Any] | None) -> Exit | None:
    if values is None:
        return None
    return Exit(
        code=values["code"],
        reason=ExitReason(values["reason"]),
        signal=values["signal"],
        truncated=values["truncated"],
        usage=Usage(values["wall_s"], values["cpu_s"], values["peak_memory_bytes"]),
        detail=values.get("detail", ""),  # records of earlier versions have none
        results=tuple(values.get("results", ())),
    )


def _values(record: ProcessRecord) -> dict[str, Any]:
    return {
        "command": {"argv": record.argv, "cwd": record.cwd},
        "tty": record.tty,
        "background": record.background,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "exit": _exit_values(record.exit),
    }


def _record(row: Row[Any]) -> ProcessRecord:
    return ProcessRecord(
        sandbox_id=row.sandbox_id,
        number=row.number,
        argv=strings(row.command["argv"]),
        cwd=row.command["cwd"],
        tty=row.tty,
        background=row.background,
        started_at=row.started_at,
        ended_at=row.ended_at,
        exit=_exit(row.exit),
    )


class ProcessTable:
    """What was started in each persistent sandbox."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._insert = database.insert(processes).on_conflict_do_nothing()

    async def add(self, record: ProcessRecord) -> None:
        values = _values(record) | {"sandbox_id": record.sandbox_id, "number": record.number}
        try:
            added = await self._database.write(self._insert, values)
        except IntegrityError as error:
            raise NotFound("sandbox", record.sandbox_id) from error
        if not added:
            raise Conflict(f"Sandbox {record.sandbox_id} has a process {record.number} already.")

    async def save(self, record: ProcessRecord) -> None:
        values = {f"new_{name}": value for name, value in _values(record).items()} | {
            "the_sandbox": record.sandbox_id,
            "the_number": record.number,
        }
        if not await self._database.write(_SAVE, values):
            raise NotFound("process", str(record.number))

    async def get(self, sandbox_id: str, number: int) -> ProcessRecord | None:
        if not 0 <= number <= MAX_INTEGER:
            return None
        values = {"the_sandbox": sandbox_id, "the_number": number}
        row = await self._database.row(_ONE, values)
        return None if row is None else _record(row)

    async def list(self, sandbox_id: str) -> Sequence[ProcessRecord]:
        rows = await self._database.rows(_OF_SANDBOX, {"the_sandbox": sandbox_id})
        return [_record(row) for row in rows]

    async def unfinished(self) -> Sequence[ProcessRecord]:
        return [_record(row) for row in await self._database.rows(_UNFINISHED)]
