"""A thousand live idle sandboxes: what each costs, and whether the next is still quick."""

import time

from atoll.cli.bench.atoll_calls import create_sandbox, delete_sandbox, run_in
from atoll.cli.bench.plain_http import Connection
from atoll.cli.bench.row import Check, Row
from atoll.cli.bench.series import Failed, Series
from atoll.cli.bench.server import (
    Server,
    family,
    memory_bytes,
    memory_free_bytes,
    own_server,
)

_MB = 1e6
_MANY = 1000
_FEW = 10
_SAMPLES = 30
_SETTLE_S = 3.0


def thousand() -> Row:
    """On a server of its own, whose quota allows it."""
    promise = f"{_MANY:,} live idle sandboxes on one host"
    with own_server(max_sandboxes=_MANY + _SAMPLES + _FEW) as server:
        connection = server.connection()
        made: list[str] = []
        try:
            return _measure(server, connection, made, promise)
        except Failed as failed:
            return Row(
                "idle", promise, why=(f"at {len(made)} live sandboxes: {failed}",), failed=True
            )
        finally:
            connection.close()


def _measure(server: Server, connection: Connection, made: list[str], promise: str) -> Row:
    pid = server.pid or 0
    made += [create_sandbox(connection) for _ in range(_FEW)]
    few = _creates(connection)
    time.sleep(_SETTLE_S)
    memory, free, alive = memory_bytes(family(pid)), memory_free_bytes(), len(family(pid))
    began = time.perf_counter()
    while len(made) < _MANY:
        made.append(create_sandbox(connection))
    filling_s = time.perf_counter() - began
    time.sleep(_SETTLE_S)
    added = _MANY - _FEW
    by_processes = (memory_bytes(family(pid)) - memory) / added / _MB
    by_machine = (free - memory_free_bytes()) / added / _MB
    processes = (len(family(pid)) - alive) / added
    many = _creates(connection)
    for sandbox_id in (made[0], made[_MANY // 2], made[-1]):
        run_in(connection, sandbox_id, ["/bin/true"])
    checks = (
        Check("memory each (the machine's)", max(by_machine, by_processes), 4, "MB"),
        Check("create at 1,000 over at 10", many.p50 / few.p50, 1.5),
    )
    figures = {
        "mb_each_by_processes": by_processes,
        "mb_each_by_machine": by_machine,
        "processes_each": processes,
        "create_1000_s": filling_s,
    }
    return Row("idle", promise, {"at 10": few, "at 1,000": many}, checks, figures=figures)


def _creates(connection: Connection) -> Series:
    """Time creates; each is destroyed again, untimed, so that the number stays."""
    series = Series()
    for turn in range(_SAMPLES + 2):
        began = time.perf_counter()
        sandbox_id = create_sandbox(connection)
        if turn > 1:
            series.samples_ms.append((time.perf_counter() - began) * 1000)
        delete_sandbox(connection, sandbox_id)
    return series
