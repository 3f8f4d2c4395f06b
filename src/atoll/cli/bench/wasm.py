"""WebAssembly: a hello module, JavaScript and Python, beside wasmtime alone, node and python."""

import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from atoll.cli.bench import alternatives
from atoll.cli.bench.atoll_calls import execute, run
from atoll.cli.bench.plain_http import Connection
from atoll.cli.bench.row import ATOLL, Check, Row
from atoll.cli.bench.series import Contender, Failed, Series, interleaved
from atoll.cli.bench.server import Server, own_server

_PROMISE = "WebAssembly over HTTP, warm cache: hello module"
_HELLO = """(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\06\\00\\00\\00hello\\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))))
"""
# What a program that embeds wasmtime does for each call, in its own process and without a jail.
_BARE = """
import sys, wasmtime
engine = wasmtime.Engine()
linker = wasmtime.Linker(engine)
linker.define_wasi()
module = wasmtime.Module(engine, open(sys.argv[1], "rb").read())
for _ in sys.stdin:
    store = wasmtime.Store(engine)
    config = wasmtime.WasiConfig()
    config.inherit_stdout()
    store.set_wasi(config)
    linker.instantiate(store, module).exports(store)["_start"](store)
"""
_READY_RUNS = 12


def hello(runs: int) -> Row:
    """On a server of its own, which prefers WebAssembly."""
    try:
        import wasmtime

        binary = bytes(wasmtime.wat2wasm(_HELLO))
    except ImportError:
        return Row("wasm", _PROMISE, why=("wasmtime is not installed: pip install 'atoll[wasm]'",))
    with (
        TemporaryDirectory(prefix="atoll-bench-") as place,
        own_server(backends=["wasm"]) as server,
    ):
        module = Path(place) / "hello.wasm"
        module.write_bytes(binary)
        return _measured(server, module, runs)


def _measured(server: Server, module: Path, runs: int) -> Row:
    connection = server.connection()
    series: dict[str, Series] = {}
    why: list[str] = []
    _compile(connection)
    with _Bare(module) as bare:
        ours = run(connection, ["hello.wasm"], {"hello.wasm": _HELLO}, "hello\n")
        contenders = {
            ATOLL: ours,
            "wasmtime alone": Contender(bare.attempt),
            # Gives the pool the time to fill up again, as the other rows' alternatives do.
            "/usr/bin/python3 -c pass": alternatives.program([alternatives.PYTHON, "-c", ""], b""),
        }
        series |= interleaved(contenders, runs)
    for name, language, argv in (
        ("JavaScript", "javascript", _node()),
        ("Python", "python", [alternatives.PYTHON, "-c", "print(1+1)"]),
    ):
        series |= _language(connection, name, language, argv, max(20, runs // 3), why)
    connection.close()
    bounds = {ATOLL: 3.0, "atoll, JavaScript": 5.0, "atoll, Python": 30.0}
    checks = tuple(
        Check(f"p50 of {name}", series[name].p50, bound, "ms")
        for name, bound in bounds.items()
        if name in series
    )
    return Row("wasm", _PROMISE, series, checks, tuple(why))


def _compile(connection: Connection) -> None:
    """Have the server compile its languages, and wait for it."""
    for language in ("python", "javascript"):
        with suppress(Failed):
            body: dict[str, object] = {"language": language, "code": "0", "timeout_s": 120}
            execute(connection, body, "").attempt()


def _language(
    connection: Connection,
    name: str,
    language: str,
    argv: list[str] | None,
    runs: int,
    why: list[str],
) -> dict[str, Series]:
    code = "console.log(1+1)" if language == "javascript" else "print(1+1)"
    ours = execute(connection, {"language": language, "code": code, "timeout_s": 120}, "2\n")
    try:
        for _ in range(_READY_RUNS):
            ours.attempt()
    except Failed as failed:
        why.append(f"{name}: {failed}")
        return {}
    contenders = {f"atoll, {name}": ours}
    if argv is None:
        why.append("node is not installed")
    else:
        contenders[f"subprocess {Path(argv[0]).name}"] = alternatives.program(argv, b"2\n")
    return interleaved(contenders, runs)


def _node() -> list[str] | None:
    node = shutil.which("node")
    return None if node is None else [node, "-e", "console.log(1+1)"]


class _Bare:
    """A script that runs the module once for each line it is sent."""

    def __init__(self, module: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BARE, str(module)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.communicate()

    def attempt(self) -> None:
        """Once, until its line has come."""
        orders, lines = self._process.stdin, self._process.stdout
        if orders is None or lines is None:
            raise Failed("wasmtime alone has no pipes")
        orders.write(b"\n")
        orders.flush()
        if lines.readline() != b"hello\n":
            raise Failed("wasmtime alone printed something else")
