"""The run-dat-sheesh dialect: VMs made and restored, programs in them, archives in and out."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

from atoll.cli.bench import alternatives
from atoll.cli.bench.atoll_calls import ask
from atoll.cli.bench.plain_http import BrokenAnswer, Connection
from atoll.cli.bench.row import ATOLL, Check, Row
from atoll.cli.bench.series import Contender, Failed, Series, interleaved
from atoll.cli.bench.server import Server, own_server

_VM: dict[str, object] = {"cpu": 1, "memMb": 256, "allowIps": []}
_ROOT = "/run-dat-sheesh/v1/vms"
_MANY = 20
_ROUNDS = 7
_MB = 1 << 20
_IN_BYTES, _OUT_BYTES = 10 * _MB - 64 * 1024, 49_500_000
_DEADLINE_S = 60.0
_OPTIONS = (
    "run-dat-sheesh.rate_limits=false",
    f"run-dat-sheesh.max_vms={_MANY + 5}",
)


def made(runs: int) -> Row:
    """One from scratch, and many from one snapshot at once."""
    promise = f"a VM from scratch; {_MANY} from one snapshot at once"
    with _speaking() as server:
        connection = server.connection()
        series = interleaved({ATOLL: Contender(lambda: _life(connection))}, runs)
        source = _create(connection)
        _exec(connection, source, "echo seed > seed")
        snapshot = ask(connection, "POST", f"{_ROOT}/{source}/snapshots").document()["id"]
        many = Series([_restored(server, str(snapshot)) for _ in range(_ROUNDS)])
        connection.close()
    every = {**series, f"{_MANY} from one snapshot": many}
    checks = (
        Check("p50 of a create", series[ATOLL].p50, 60, "ms"),
        Check(f"p50 of {_MANY} together", many.p50, 1000, "ms"),
    )
    return Row("vms", promise, every, checks)


def scripts(runs: int) -> Row:
    """`run-ts` of `2 + 2`, beside deno unsandboxed and started for it."""
    promise = "run-ts of 2 + 2"
    deno = shutil.which("deno") or _beside("deno")
    if deno is None:
        return Row("scripts", promise, why=("deno is not installed",))
    with _speaking() as server, tempfile.TemporaryDirectory(prefix="atoll-bench-") as place:
        program = Path(place) / "main.ts"
        program.write_text("2 + 2\n", encoding="utf-8")
        connection = server.connection()
        vm = _create(connection)
        path = f"{_ROOT}/{vm}/run-ts"
        request = connection.request_bytes("POST", path, {"code": "2 + 2"})

        def attempt() -> None:
            try:
                answer = connection.exchange(request).document()
            except BrokenAnswer as broken:
                raise Failed(str(broken)) from broken
            if answer.get("exitCode") != 0:
                raise Failed(str(answer)[:300])

        cold = "deno run"
        contenders = {
            ATOLL: Contender(attempt),
            cold: alternatives.program([deno, "run", str(program)], b""),
        }
        series = interleaved(contenders, runs)
        connection.close()
    ratio = series[ATOLL].p50 / series[cold].p50
    return Row("scripts", promise, series, (Check("p50, of a cold deno's", ratio, 0.5),))


def archives() -> Row:
    """What a client may send and fetch at most, beside the local tar with gzip."""
    promise = "a tar.gz of 10 MiB into a VM, one of 50 MB out of it"
    with _speaking() as server, tempfile.TemporaryDirectory(prefix="atoll-bench-") as place:
        root = Path(place)
        for name, size in (("in", _IN_BYTES), ("out", _OUT_BYTES)):
            (root / name).mkdir()
            for number in range(10):
                (root / name / str(number)).write_bytes(os.urandom(size // 10))
        subprocess.run(["tar", "-czf", "in.tgz", "-C", "in", "."], cwd=root, check=True)
        connection = server.connection()
        vm = _create(connection, diskSizeMb=1024)
        files = f"{_ROOT}/{vm}/files"
        _exec(connection, vm, "mkdir out; for n in 0 1 2 3 4 5 6 7 8 9; do "
              f"head -c {_OUT_BYTES // 10} /dev/urandom > out/$n; done")  # fmt: skip

        def put() -> None:
            length = (root / "in.tgz").stat().st_size
            with (root / "in.tgz").open("rb") as file:
                answer = connection.upload(f"{files}/upload?dest=in", file, length, "POST")
            if answer.status != 204:  # noqa: PLR2004
                raise Failed(f"upload: {answer.status} {answer.body[:300]!r}")

        def fetch() -> None:
            size = sum(len(each) for each in connection.stream("GET", f"{files}/download?path=out"))
            if size < _OUT_BYTES:
                raise Failed(f"the download ended after {size} bytes")

        series = interleaved(
            {
                "atoll in": Contender(put),
                "tar in": Contender(lambda: _shell(root, "mkdir -p to && tar -xzf in.tgz -C to")),
                "atoll out": Contender(fetch),
                "tar out": Contender(lambda: _shell(root, "tar -czf - -C out . | cat > /dev/null")),
            },
            _ROUNDS,
        )
        connection.close()
    into = series["tar in"].p50 / series["atoll in"].p50
    out = series["tar out"].p50 / series["atoll out"].p50
    checks = (
        Check("speed in, of local tar's", into, 0.5, at_least=True),
        Check("speed out, of local tar's", out, 0.5, at_least=True),
    )
    return Row("vm-files", promise, series, checks)


@contextmanager
def _speaking() -> Generator[Server]:
    with own_server(dialect_options=_OPTIONS) as server:
        yield server


def _beside(name: str) -> str | None:
    place = Path(sys.executable).parent / name
    return str(place) if place.exists() else None


def _create(connection: Connection, **more: object) -> str:
    answer = ask(connection, "POST", _ROOT, {**_VM, **more}).document()
    if answer["state"] != "RUNNING":
        raise Failed(str(answer)[:300])
    return cast("str", answer["id"])


def _life(connection: Connection) -> float:
    began = time.perf_counter()
    vm = _create(connection)
    taken = (time.perf_counter() - began) * 1000
    ask(connection, "DELETE", f"{_ROOT}/{vm}")
    return taken


def _exec(connection: Connection, vm: str, cmd: str) -> str:
    answer = ask(connection, "POST", f"{_ROOT}/{vm}/exec", {"cmd": cmd}).document()
    if answer["exitCode"] != 0:
        raise Failed(str(answer)[:300])
    return cast("str", answer["stdout"])


def _restored(server: Server, snapshot: str) -> float:
    """Many at once, each from a connection of its own; then each is looked into and deleted."""
    connections = [server.connection() for _ in range(_MANY)]
    for each in connections:
        ask(each, "GET", "/healthz")
    with ThreadPoolExecutor(_MANY) as threads:
        began = time.perf_counter()
        vms = list(threads.map(partial(_create, snapshotId=snapshot), connections))
        taken = (time.perf_counter() - began) * 1000
    for connection, vm in zip(connections, vms, strict=True):
        said = _exec(connection, vm, f"cat seed; ls; echo {vm} > mine")
        if said != "seed\nseed\n":
            raise Failed(f"a VM is not as its snapshot: {said[:300]!r}")
    for connection, vm in zip(connections, vms, strict=True):
        if _exec(connection, vm, "cat mine") != f"{vm}\n":
            raise Failed("VMs of one snapshot see each other's files")
        ask(connection, "DELETE", f"{_ROOT}/{vm}")
        connection.close()
    return taken


def _shell(root: Path, line: str) -> None:
    subprocess.run(["sh", "-c", line], cwd=root, check=True, timeout=_DEADLINE_S)
