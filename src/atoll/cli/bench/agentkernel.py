"""The agentkernel dialect: `POST /run` of Python and of a program, and a batch of a hundred."""

import time
from collections.abc import Callable
from statistics import median

from atoll.cli.bench import alternatives
from atoll.cli.bench.plain_http import BrokenAnswer, Connection
from atoll.cli.bench.row import ATOLL, Check, Row
from atoll.cli.bench.series import Contender, Failed, Series, interleaved
from atoll.cli.bench.server import Server, core_count

_PROMISE = "agentkernel: POST /run of python3 -c 'print(1+1)'"
_PYTHON = "python3 -c"
_ECHO = "/bin/echo"
_BATCH = 100


def run(server: Server, runs: int) -> Row:
    """Each beside the program unsandboxed, and the first beside other isolators."""
    connection = server.connection()
    code = "print(1+1)"
    argv = [alternatives.PYTHON, "-c", code]
    others, why = alternatives.isolated(argv, b"2\n")
    series = interleaved(
        {
            ATOLL: _run(connection, ["python3", "-c", code], "2\n"),
            _PYTHON: alternatives.program(argv, b"2\n"),
            "atoll, echo": _run(connection, ["echo", "hello"], "hello\n"),
            _ECHO: alternatives.program([_ECHO, "hello"], b"hello\n"),
            **others,
        },
        runs,
    )
    batches = Series(
        [_batch(connection) for _ in range(max(3, runs // 50))],
    )
    connection.close()
    rate = _BATCH * 1000 / median(batches.samples_ms)
    checks = (
        Check("p50", series[ATOLL].p50, 6, "ms"),
        Check("p50 of echo beyond its own", series["atoll, echo"].p50 - series[_ECHO].p50, 6, "ms"),
    )
    figures = {f"commands/s in batches of {_BATCH} on {core_count()} cores": rate}
    every = {**series, f"atoll, batch of {_BATCH}": batches}
    return Row("agentkernel", _PROMISE, every, checks, tuple(why), figures)


def _run(connection: Connection, command: list[str], output: str) -> Contender:
    request = connection.request_bytes("POST", "/agentkernel/run", {"command": command})
    wanted = {"success": True, "data": {"output": output}}

    def attempt() -> None:
        if _asked(lambda: connection.exchange(request).document()) != wanted:
            raise Failed(f"{command[0]}: not what it prints")

    return Contender(attempt)


def _batch(connection: Connection) -> float:
    """Its milliseconds; results in order."""
    commands = [{"command": ["echo", str(number)]} for number in range(_BATCH)]
    begun = time.perf_counter()
    answer = _asked(
        lambda: connection.send("POST", "/agentkernel/batch/run", {"commands": commands}).document()
    )
    taken_ms = (time.perf_counter() - begun) * 1000
    results = [{"output": f"{number}\n", "error": None} for number in range(_BATCH)]
    if answer != {"success": True, "data": {"results": results}}:
        raise Failed("a batch: not what its commands print, in order")
    return taken_ms


def _asked(ask: Callable[[], dict[str, object]]) -> dict[str, object]:
    try:
        return ask()
    except (BrokenAnswer, ValueError) as broken:
        raise Failed(str(broken)) from broken
