"""One-shots: `print(1+1)` in a fresh sandbox, and the same with heavy modules preloaded."""

import json
import subprocess
import sys

from atoll.cli.bench import alternatives
from atoll.cli.bench.atoll_calls import execute
from atoll.cli.bench.row import ATOLL, Check, Row
from atoll.cli.bench.series import Series, interleaved
from atoll.cli.bench.server import Server, core_count, own_server

_PYTHON = "python3 -c"
_HEAVY = "import numpy, pandas; print(int(pandas.Series(numpy.arange(5)).sum()))"
_CLIENTS = 16
_SECONDS = 8.0


def print_two(server: Server, runs: int) -> Row:
    """The first promise."""
    code = "print(1+1)"
    connection = server.connection()
    argv = [alternatives.PYTHON, "-c", code]
    others, why = alternatives.isolated(argv, b"2\n")
    contenders = {
        ATOLL: execute(connection, {"language": "python", "code": code}, "2\n"),
        _PYTHON: alternatives.program(argv, b"2\n"),
        **others,
    }
    series = interleaved(contenders, runs)
    connection.close()
    ours = series[ATOLL].p50
    checks = (
        Check("p50", ours, 2.5, "ms"),
        Check(f"ratio to {_PYTHON}", ours / series[_PYTHON].p50, 0.4),
    )
    return Row("oneshot", "one-shot Python print(1+1), fresh sandbox", series, checks, tuple(why))


def preloaded(runs: int) -> Row:
    """The same with numpy and pandas preloaded and used; a server of its own has the set."""
    promise = "one-shot Python with numpy and pandas preloaded and used"
    argv = [alternatives.PYTHON, "-c", _HEAVY]
    probe = subprocess.run(argv, capture_output=True, timeout=120, check=False)
    if probe.returncode != 0:
        why = f"{alternatives.PYTHON} has no numpy and pandas (apt-get install python3-pandas)"
        return Row("preload", promise, why=(why,))
    modules = ["numpy", "pandas"]
    with own_server(preload_sets=[modules]) as server:
        connection = server.connection()
        body: dict[str, object] = {"language": "python", "code": _HEAVY, "preload": modules}
        contenders = {
            ATOLL: execute(connection, body, "10\n"),
            _PYTHON: alternatives.program(argv, b"10\n"),
        }
        series = interleaved(contenders, max(20, runs // 5))
        connection.close()
    ratio = series[ATOLL].p50 / series[_PYTHON].p50
    return Row("preload", promise, series, (Check(f"ratio to {_PYTHON}", ratio, 0.10),))


def throughput(server: Server) -> Row:
    """Sixteen clients that never wait, in one light process beside the server."""
    connection = server.connection()
    body = {"language": "python", "code": "print(1+1)"}
    order = {
        "host": server.host,
        "port": server.port,
        "request": connection.request_bytes("POST", "/v1/execute", body).decode(),
        "expect": '"stdout":"2\\n"',
        "clients": _CLIENTS,
        "warm_s": 1.0,
        "seconds": _SECONDS,
    }
    done = subprocess.run(
        [sys.executable, "-m", "atoll.cli.bench.load"],
        input=json.dumps(order).encode(),
        capture_output=True,
        timeout=_SECONDS + 120,
        check=False,
    )
    promise = f"one-shot throughput, {core_count()} cores shared with the {_CLIENTS} clients"
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return Row("throughput", promise, why=(f"the clients failed: {said[-1:]}",), failed=True)
    report = json.loads(done.stdout)
    series = Series(report["samples_ms"], report["errors"], report["first_error"])
    rate = len(series.samples_ms) / report["seconds"]
    checks = (
        Check("executions/s", rate, 600, "/s", at_least=True),
        Check("p99 over p50", series.p99 / series.p50, 3),
        Check("errors", series.errors, 0),
    )
    return Row("throughput", promise, {ATOLL: series}, checks, figures={"executions_per_s": rate})
