"""Archives of 256 MB in and out, beside the local tar on the same disk."""

import subprocess
import tempfile
from pathlib import Path

from atoll.cli.bench.atoll_calls import create_sandbox, delete_sandbox, run_in
from atoll.cli.bench.plain_http import BrokenAnswer, Connection
from atoll.cli.bench.row import Check, Row
from atoll.cli.bench.series import Contender, Failed, Series, interleaved
from atoll.cli.bench.server import Server

_MB = 1 << 20
_SIZE = 256 * _MB
_FILES = 64
_ROUNDS = 5
_DEADLINE_S = 300.0


def in_and_out(server: Server) -> Row:
    """The directory is made once; each contender packs it or unpacks it in turn."""
    promise = "archive of 256 MB in and out"
    connection = server.connection()
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as place:
        root = Path(place)
        _fill(root)
        try:
            sandbox_id = create_sandbox(connection, limits={"disk_bytes": 8 * _SIZE})
            series = _take_turns(connection, sandbox_id, root)
            delete_sandbox(connection, sandbox_id)
        except Failed as failed:
            return Row("archive", promise, why=(f"it failed: {failed}",), failed=True)
        finally:
            connection.close()
    into = series["tar in"].p50 / series["atoll in"].p50
    out = series["tar out"].p50 / series["atoll out"].p50
    checks = (
        Check("speed in, of local tar's", into, 0.5, at_least=True),
        Check("speed out, of local tar's", out, 0.5, at_least=True),
    )
    speeds = {f"{name}_mb_per_s": _SIZE / _MB / each.p50 * 1000 for name, each in series.items()}
    return Row("archive", promise, series, checks, figures=speeds)


def _fill(root: Path) -> None:
    (root / "from").mkdir()
    block = bytes(range(256)) * (_SIZE // _FILES // 256)
    for number in range(_FILES):
        (root / "from" / f"{number:04}").write_bytes(block)
    subprocess.run(["tar", "-cf", "all.tar", "-C", "from", "."], cwd=root, check=True)


def _take_turns(connection: Connection, sandbox_id: str, root: Path) -> dict[str, Series]:
    tar = root / "all.tar"
    url = f"/v1/sandboxes/{sandbox_id}/archive?path=big"
    run_in(connection, sandbox_id, ["mkdir", "big"])

    def put() -> None:
        try:
            with tar.open("rb") as file:
                answer = connection.upload(url, file, tar.stat().st_size)
        except BrokenAnswer as broken:
            raise Failed(str(broken)) from broken
        if answer.status != 200:  # noqa: PLR2004
            raise Failed(f"PUT archive: {answer.status} {answer.body[:300]!r}")

    def fetch() -> None:
        try:
            size = sum(len(chunk) for chunk in connection.stream("GET", url))
        except BrokenAnswer as broken:
            raise Failed(str(broken)) from broken
        if size < _SIZE:
            raise Failed(f"GET archive ended after {size} bytes")

    put()
    contenders = {
        "atoll in": Contender(put),
        "tar in": Contender(lambda: _shell(root, "mkdir -p to && tar -xf all.tar -C to")),
        "atoll out": Contender(fetch),
        # Through cat, since tar reads nothing when its output is /dev/null itself.
        "tar out": Contender(lambda: _shell(root, "tar -cf - -C from . | cat > /dev/null")),
    }
    return interleaved(contenders, _ROUNDS)


def _shell(root: Path, line: str) -> None:
    subprocess.run(["sh", "-c", line], cwd=root, check=True, timeout=_DEADLINE_S)
