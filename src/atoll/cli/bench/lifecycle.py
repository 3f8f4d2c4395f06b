"""Persistent sandboxes: a whole short life, and forks of a full one."""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from atoll.cli.bench import alternatives
from atoll.cli.bench.atoll_calls import ask, create_sandbox, delete_sandbox, run_in
from atoll.cli.bench.row import ATOLL, Check, Row
from atoll.cli.bench.series import Contender, Failed, Series, interleaved
from atoll.cli.bench.server import Server

_GB = 1000**3
_FORKS = 30
_FILL = "mkdir big && for i in $(seq 100); do head -c 10000000 /dev/zero > big/$i; done"


def whole_life(server: Server, runs: int) -> Row:
    """Create, exec /bin/true, delete."""
    connection = server.connection()

    def live() -> None:
        sandbox_id = create_sandbox(connection)
        run_in(connection, sandbox_id, ["/bin/true"])
        delete_sandbox(connection, sandbox_id)

    others, why = alternatives.isolated(["/bin/true"], b"")
    series = interleaved({ATOLL: Contender(live), **others}, max(20, runs // 3))
    connection.close()
    ours = series[ATOLL].p50
    checks = [Check("p50", ours, 12, "ms")]
    if "docker run" in series:
        checks.append(Check("ratio to docker run", ours / series["docker run"].p50, 0.1))
    promise = "create + exec /bin/true + delete of a persistent sandbox"
    return Row("lifecycle", promise, series, tuple(checks), tuple(why))


def fork(server: Server) -> Row:
    """Fork a sandbox with 1 GB of files; the alternative copies them."""
    promise = "fork of a sandbox holding 1 GB of files"
    connection = server.connection()
    try:
        limits = {"disk_bytes": 2 * _GB}
        sandbox_id = create_sandbox(connection, limits=limits)
        run_in(connection, sandbox_id, ["sh", "-c", _FILL], timeout_s=300)
        series = Series()
        for turn in range(_FORKS + 2):
            _fork_once(server, sandbox_id, series if turn > 1 else Series())
        delete_sandbox(connection, sandbox_id)
    except Failed as failed:
        return Row("fork", promise, why=(f"it failed: {failed}",), failed=True)
    finally:
        connection.close()
    compared, why = _copied()
    found = {ATOLL: series, **compared}
    return Row("fork", promise, found, (Check("p50", series.p50, 10, "ms"),), why)


def _fork_once(server: Server, sandbox_id: str, series: Series) -> None:
    connection = server.connection()
    try:
        began = time.perf_counter()
        made = ask(connection, "POST", f"/v1/sandboxes/{sandbox_id}/fork", {}).document()
        series.samples_ms.append((time.perf_counter() - began) * 1000)
        seen = run_in(connection, str(made["id"]), ["sh", "-c", "cat big/* | wc -c"], timeout_s=120)
        if int(seen) != _GB:
            series.fail(f"the fork holds {seen.strip()} bytes")
        delete_sandbox(connection, str(made["id"]))
    except Failed as failed:
        series.fail(str(failed))
    finally:
        connection.close()


def _copied() -> tuple[dict[str, Series], tuple[str, ...]]:
    """`cp -a` of the same files, twice."""
    series = Series()
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as place:
        root = Path(place)
        if shutil.disk_usage(root).free < 4 * _GB:
            return {}, ("too little free disk to compare with cp -a",)
        (root / "from").mkdir()
        subprocess.run(["sh", "-c", _FILL], cwd=root / "from", check=True, timeout=300)
        for turn in range(2):
            began = time.perf_counter()
            subprocess.run(
                ["cp", "-a", "--reflink=auto", "from", f"to{turn}"],
                cwd=root,
                check=True,
                timeout=300,
            )
            series.samples_ms.append((time.perf_counter() - began) * 1000)
            shutil.rmtree(root / f"to{turn}")
    return {"cp -a": series}, ()
