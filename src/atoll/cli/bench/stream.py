"""How long a byte takes from the guest's write to the client."""

import base64
import json
import subprocess
import time

from atoll.cli.bench.alternatives import PYTHON
from atoll.cli.bench.plain_http import BrokenAnswer
from atoll.cli.bench.row import ATOLL, Check, Row
from atoll.cli.bench.series import Contender, Failed, interleaved
from atoll.cli.bench.server import Server

# The guest's monotonic clock is ours: no time namespace is between.
_CODE = "import time; time.sleep(0.03); print(time.monotonic_ns(), flush=True); time.sleep(0.05)"
_PIPE = "python3 over a pipe"


def first_byte(server: Server, runs: int) -> Row:
    """The guest prints its clock; we look at ours when that arrives."""
    connection = server.connection()

    def attempt() -> float:
        body = {"language": "python", "code": _CODE}
        seen = b""
        arrived = None
        try:
            for chunk in connection.stream("POST", "/v1/execute/stream", body):
                now = time.monotonic_ns()
                seen += chunk
                if arrived is None and b"event: stdout" in seen:
                    arrived = now
        except BrokenAnswer as broken:
            raise Failed(str(broken)) from broken
        if arrived is None:
            raise Failed(f"no output in {seen[:300]!r}")
        return (arrived - _written(seen)) / 1e6

    contenders = {ATOLL: Contender(attempt), _PIPE: Contender(_local)}
    series = interleaved(contenders, max(20, runs // 5))
    connection.close()
    promise = "first output byte of a stream after the guest wrote it"
    return Row("stream", promise, series, (Check("p50", series[ATOLL].p50, 3, "ms"),))


def _written(stream: bytes) -> int:
    """The guest's clock, out of the first stdout event."""
    _, _, after = stream.partition(b"event: stdout")
    line = next(line for line in after.splitlines() if line.startswith(b"data:"))
    data = json.loads(line.removeprefix(b"data:"))
    text = data["data"]
    return int(base64.b64decode(text) if data.get("encoding") == "base64" else text)


def _local() -> float:
    with subprocess.Popen([PYTHON, "-c", _CODE], stdout=subprocess.PIPE, bufsize=0) as process:
        if process.stdout is None:
            raise Failed("no pipe")
        line = process.stdout.read(64)
        now = time.monotonic_ns()
        process.wait()
    return (now - int(line)) / 1e6
