"""`atoll-wasm` in a sandbox of the namespace backend: the same files, another engine."""

import hashlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from atoll.backends.namespace import NamespaceBackend, NamespaceConfig
from atoll.core.model import ProcessSpec
from atoll.core.ports import Sandbox
from atoll.guest.wasm import engine, proved
from atoll.images import wasm
from atoll.testing.backend.running import Done, fresh, read, run

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

WARM = ("atoll.guest.wasm.warm",)
REPORT = "/tmp/report.json"
TEXT = b"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\06\\00\\00\\00hello\\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20)))
    (call $exit (i32.const 7)))
  (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
  (func (export "boom") unreachable)
  (func (export "loop") (loop (br 0)))
  (func (export "grow")
    (loop (br_if 0 (i32.ne (i32.const -1) (memory.grow (i32.const 1))))) unreachable))"""


@pytest.fixture(scope="module", params=[(), WARM], ids=["cold", "warm"])
async def box(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[Sandbox, None]:
    """With the program started as any other, and forked from a zygote that holds it."""
    place = Path(tmp_path_factory.mktemp("program"))
    config = NamespaceConfig(place, binds=wasm.program(), preload=(WARM,))
    async with NamespaceBackend(config) as backend:
        async with backend.open(fresh(persistent=True, preload=request.param)) as box:
            await box.files.write("m.wat", TEXT)
            yield box


async def atoll_wasm(box: Sandbox, *words: str) -> Done:
    return await run(box, ProcessSpec(("atoll-wasm", *words), wall_s=20))


async def reported(box: Sandbox, *words: str) -> tuple[int | None, dict[str, Any]]:
    done = await atoll_wasm(box, "--report", REPORT, *words)
    report = json.loads(await read(box.files, REPORT))
    await box.files.remove(REPORT)
    return done.exit.code, report


async def test_a_program(box: Sandbox) -> None:
    done = await atoll_wasm(box, "m.wat")
    assert (done.stdout, done.stderr, done.exit.code) == (b"hello\n", b"", 7)
    code, report = await reported(box, "m.wat")
    assert (code, report["reason"], report["exit_code"]) == (7, "exited", 7)


async def test_the_binary_form(box: Sandbox) -> None:
    import wasmtime

    await box.files.write("m.wasm", bytes(wasmtime.wat2wasm(TEXT.decode())))
    assert (await atoll_wasm(box, "m.wasm")).stdout == b"hello\n"


async def test_a_function(box: Sandbox) -> None:
    assert (await atoll_wasm(box, "--invoke", "add", "m.wat", "1", "-3")).stdout == b"-2\n"
    code, report = await reported(box, "--invoke", "add", "m.wat", "40", "2")
    assert (code, report["results"], report["exit_code"]) == (0, [42], 0)


@pytest.mark.parametrize(
    ("words", "reason", "trap"),
    [
        (("--invoke", "boom", "m.wat"), "trap", "unreachable"),
        (("--fuel", "1000", "--invoke", "loop", "m.wat"), "fuel", "out_of_fuel"),
        (("--wall-s", "0.3", "--invoke", "loop", "m.wat"), "wall_time", None),
        (("--memory-mb", "16", "--invoke", "grow", "m.wat"), "memory", "unreachable"),
        (("--invoke", "none", "m.wat"), "no_function", None),
        (("--invoke", "add", "m.wat", "x", "1"), "bad_argument", None),
        (("--invoke", "add", "m.wat"), "bad_argument", None),
        (("absent.wasm",), "invalid", None),
        (("/bin/sh",), "invalid", None),
    ],
)
async def test_how_it_ends(
    box: Sandbox, words: tuple[str, ...], reason: str, trap: str | None
) -> None:
    code, report = await reported(box, *words)
    assert (code, report["reason"], report["trap"]) == (134, reason, trap)
    assert report["exit_code"] is None
    assert report["detail"]


@pytest.mark.parametrize("words", [(), ("--fuel", "x", "m.wat"), ("--unknown", "m.wat")])
async def test_a_command_that_is_not_written_right(box: Sandbox, words: tuple[str, ...]) -> None:
    done = await atoll_wasm(box, *words)
    assert done.exit.code == 2
    assert b"usage: atoll-wasm" in done.stderr


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[: proved.DIGITS]


async def test_code_counts_only_where_it_is_proved(box: Sandbox) -> None:
    """Code that says 3 lies beside a module that says 4; only a whole proof lets it be taken."""
    says = '(module (func (export "f") (result i32) (i32.const %d)))'
    module = (says % 4).encode()
    code = engine.artefact((says % 3).encode(), fuel=False)
    for each in (engine.trifle, engine.linker, engine._engine):
        each.cache_clear()
    await box.files.write("four.wat", module)
    for proof, said in (
        (f"{_digest(module)}:{_digest(code)}", b"3\n"),
        (f"{_digest(module)}:{_digest(b'other code')}", b"4\n"),
        (f"{_digest(b'other module')}:{_digest(code)}", b"4\n"),
        ("", b"4\n"),
        (":", b"4\n"),
    ):
        await box.files.write("code", code)
        options = ("--code", "/workspace/code", "--proof", proof, "--invoke", "f")
        assert (await atoll_wasm(box, *options, "four.wat")).stdout == said, proof
    # A proof of what is no code, and of code that is not there.
    for held in (b"junk", b""):
        await box.files.write("code", held)
        proof = f"{_digest(module)}:{_digest(held)}"
        options = ("--code", "/workspace/code", "--proof", proof, "--invoke", "f")
        assert (await atoll_wasm(box, *options, "four.wat")).stdout == b"4\n"
