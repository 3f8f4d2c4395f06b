"""Modules in an open sandbox: how they are called, what bounds them, how they end."""

from collections.abc import AsyncGenerator
from dataclasses import replace

import anyio
import pytest

from atoll.backends.wasm import WasmBackend
from atoll.core.errors import InvalidRequest, Unsupported
from atoll.core.model import MIB, Exit, ExitReason, Limits, ProcessSpec, TtySize
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import Done, fresh, read, run

pytestmark = pytest.mark.anyio

ALL = b"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\06\\00\\00\\00hello\\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 20))))
  (func (export "exit") (param i32) (call $exit (local.get 0)))
  (func (export "add") (param i32 i64) (result i64)
    (i64.add (i64.extend_i32_s (local.get 0)) (local.get 1)))
  (func (export "half") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 0.5)))
  (func (export "two") (result i32 f32) (i32.const 7) (f32.const 1.5))
  (func (export "nan") (result f64) (f64.div (f64.const 0) (f64.const 0)))
  (func (export "reference") (param externref))
  (func (export "boom") unreachable)
  (func (export "zero") (result i32) (i32.div_s (i32.const 1) (i32.const 0)))
  (func (export "outside") (result i32) (i32.load (i32.const 0x7fffffff)))
  (func $deep (export "deep") (call $deep))
  (func (export "loop") (loop (br 0)))
  (func (export "grow")
    (loop (br_if 0 (i32.ne (i32.const -1) (memory.grow (i32.const 1))))) unreachable)
)"""
LOOPS_IN_START = b"(module (func $s (loop (br 0))) (start $s))"


async def call(box: Sandbox, function: str, *words: str, **fields: object) -> Exit:
    """Call a function of `ALL`."""
    spec = ProcessSpec(("all.wat", *words), files={"all.wat": ALL}, function=function, wall_s=10)
    return (await run(box, replace(spec, **fields))).exit  # type: ignore[arg-type]


async def test_start(box: Sandbox) -> None:
    done = await run(box, ProcessSpec(("all.wat",), files={"all.wat": ALL}))
    assert (done.stdout, done.exit.code, done.exit.results) == (b"hello\n", 0, ())


@pytest.mark.parametrize(
    ("function", "words", "results"),
    [
        ("add", ("3", "-4"), (-1,)),
        ("add", ("0xffffffff", "9223372036854775807"), (9223372036854775806,)),
        ("half", ("3",), (1.5,)),
        ("half", ("-inf",), ("-Infinity",)),
        ("two", (), (7, 1.5)),
        ("nan", (), ("NaN",)),
    ],
)
async def test_functions(
    box: Sandbox, function: str, words: tuple[str, ...], results: tuple[object, ...]
) -> None:
    ended = await call(box, function, *words)
    assert (ended.code, ended.reason, ended.results) == (0, ExitReason.EXITED, results)


@pytest.mark.parametrize(
    ("function", "words", "said"),
    [
        ("add", ("1",), "add takes 2 arguments (i32, i64), 1 were given"),
        ("add", ("x", "1"), "Argument 1 of add must be an integer"),
        ("add", ("4294967296", "1"), "does not fit into 32 bits"),
        ("add", ("9" * 5000, "1"), "must be an integer"),
        ("half", ("one",), "must be a number"),
        ("reference", ("1",), "cannot be given from outside"),
        ("none", (), "exports no function 'none'"),
        ("memory", (), "exports no function 'memory'"),
    ],
)
async def test_what_cannot_be_called(
    box: Sandbox, function: str, words: tuple[str, ...], said: str
) -> None:
    ended = await call(box, function, *words)
    assert (ended.code, ended.reason) == (None, ExitReason.INVALID)
    assert said in ended.detail


@pytest.mark.parametrize("code", [0, 1, 125, 126, 134, 137, 255])
async def test_every_code_is_the_modules_own(box: Sandbox, code: int) -> None:
    ended = await call(box, "exit", str(code))
    assert (ended.code, ended.reason) == (code, ExitReason.EXITED)


@pytest.mark.parametrize(
    ("function", "trap"),
    [
        ("boom", "unreachable"),
        ("zero", "integer_division_by_zero"),
        ("outside", "memory_out_of_bounds"),
        ("deep", "stack_overflow"),
    ],
)
async def test_traps_have_names(box: Sandbox, function: str, trap: str) -> None:
    ended = await call(box, function)
    assert (ended.code, ended.reason) == (None, ExitReason.TRAP)
    assert ended.detail.startswith(f"{trap}: ")


async def test_memory_is_bounded(backend: WasmBackend) -> None:
    async with backend.open(fresh(limits=Limits(memory_bytes=16 * MIB))) as box:
        ended = await call(box, "grow")
    assert (ended.code, ended.reason) == (None, ExitReason.MEMORY)
    assert "16 MiB" in ended.detail


async def test_a_module_that_begins_too_large(backend: WasmBackend) -> None:
    module = b'(module (memory 1024) (func (export "_start")))'
    async with backend.open(fresh(limits=Limits(memory_bytes=16 * MIB))) as box:
        ended = (await run(box, ProcessSpec(("big.wat",), files={"big.wat": module}))).exit
    assert (ended.code, ended.reason) == (None, ExitReason.MEMORY)


async def test_fuel_is_bounded_and_enough_is_enough(box: Sandbox) -> None:
    assert (await call(box, "loop", fuel=100_000)).reason is ExitReason.FUEL
    assert (await call(box, "add", "1", "2", fuel=100_000)).results == (3,)


async def test_wall_time_reaches_a_loop(box: Sandbox) -> None:
    ended = await call(box, "loop", wall_s=0.3)
    assert (ended.code, ended.reason) == (None, ExitReason.WALL_TIME)


async def test_wall_time_reaches_a_loop_in_start(box: Sandbox) -> None:
    spec = ProcessSpec(("s.wat",), files={"s.wat": LOOPS_IN_START}, wall_s=0.3)
    assert (await run(box, spec)).exit.reason is ExitReason.WALL_TIME


async def test_fuel_reaches_a_loop_in_start(box: Sandbox) -> None:
    spec = ProcessSpec(("s.wat",), files={"s.wat": LOOPS_IN_START}, fuel=100_000)
    assert (await run(box, spec)).exit.reason is ExitReason.FUEL


async def test_a_trap_in_start(box: Sandbox) -> None:
    module = b"(module (func $s unreachable) (start $s))"
    ended = (await run(box, ProcessSpec(("s.wat",), files={"s.wat": module}))).exit
    assert ended.reason is ExitReason.TRAP
    assert ended.detail.startswith("unreachable: ")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ("(table 100000000 funcref)", "table minimum size"),
        ("(table 1 funcref)" * 65, "table"),
        ("(memory 1)" * 17, "memory count"),
    ],
    ids=["elements", "tables", "memories"],
)
async def test_what_a_module_begins_with_is_bounded(box: Sandbox, parts: str, said: str) -> None:
    text = f'(module {parts} (func (export "_start")))'
    ended = (await run(box, ProcessSpec(("t.wat",), files={"t.wat": text.encode()}))).exit
    assert (ended.code, ended.reason) == (None, ExitReason.INVALID)
    assert said in ended.detail


@pytest.mark.parametrize(("elements", "given"), [(2_000_000, -1), (500_000, 1)])
async def test_tables_grow_to_a_bound(box: Sandbox, elements: int, given: int) -> None:
    module = b"""(module (table 1 funcref) (func (export "grow") (param i32) (result i32)
      (table.grow (ref.null func) (local.get 0))))"""
    spec = ProcessSpec(("t.wat", str(elements)), files={"t.wat": module}, function="grow")
    assert (await run(box, spec)).exit.results == (given,)


async def test_recursion_without_end_through_a_table(box: Sandbox) -> None:
    module = b"""(module (type $f (func)) (table 1 funcref) (elem (i32.const 0) $deep)
      (func $deep (export "_start") (call_indirect (type $f) (i32.const 0))))"""
    ended = (await run(box, ProcessSpec(("r.wat",), files={"r.wat": module}))).exit
    assert ended.reason is ExitReason.TRAP
    assert ended.detail.startswith("stack_overflow: ")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"#!/bin/sh\necho no\n",
        b"\x7fELF" + bytes(100),
        b"\0asm\x01\0\0\0" + b"\xff" * 1000,
        b"\0asm\x02\0\0\0",
        b"\0asm\x0d\0\x01\0\xff",
        b"(module",
        b"(module (func (result i32)))",
        b"(" * 100_000,
    ],
    ids=["empty", "script", "ELF", "nonsense", "version", "component", "open", "untyped", "deep"],
)
async def test_what_is_no_module(box: Sandbox, data: bytes) -> None:
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            await box.start(ProcessSpec(("m",), files={"m": data}))


@pytest.mark.slow
async def test_a_hundred_megabytes_of_nonsense(box: Sandbox) -> None:
    await box.files.write("nonsense.wasm", b"\0asm\x01\0\0\0" + bytes(100 * MIB))
    with pytest.raises(InvalidRequest, match="no valid module"):
        await box.start(ProcessSpec(("nonsense.wasm",)))


@pytest.mark.slow
async def test_more_than_a_module_may_be(box: Sandbox) -> None:
    async def blocks() -> AsyncGenerator[bytes, None]:
        yield b"\0asm\x01\0\0\0"
        for _ in range(129):
            yield bytes(MIB)

    await box.files.write("huge.wasm", blocks())
    with pytest.raises(InvalidRequest, match="is over 128 MiB"):
        await box.start(ProcessSpec(("huge.wasm",)))


async def test_an_import_that_nobody_has(box: Sandbox) -> None:
    module = b'(module (import "env" "system" (func)) (func (export "_start")))'
    ended = (await run(box, ProcessSpec(("i.wat",), files={"i.wat": module}))).exit
    assert (ended.code, ended.reason) == (None, ExitReason.INVALID)
    assert "env" in ended.detail


async def test_no_terminal(box: Sandbox) -> None:
    with pytest.raises(Unsupported):
        await box.start(ProcessSpec(("all.wat",), files={"all.wat": ALL}, tty=TtySize()))


async def test_the_working_directory_is_the_root_and_the_sandbox_is_there(
    box: Sandbox, wasi: bytes
) -> None:
    await box.files.mkdir("deep")
    await box.files.write("wasi.wasm", wasi)
    spec = ProcessSpec(("/workspace/wasi.wasm", "files"), cwd="/workspace/deep")
    assert (await run(box, spec)).stdout == b"ok\n"
    assert await read(box.files, "/workspace/deep/c") == b"onetwo"


async def test_a_module_in_a_persistent_sandbox(backend: WasmBackend) -> None:
    spec = fresh(persistent=True)
    for _ in range(2):
        async with backend.open(spec) as box:
            done: Done = await run(box, ProcessSpec(("all.wat",), files={"all.wat": ALL}))
            assert done.stdout == b"hello\n"
            assert (await call(box, "add", "1", "1")).results == (2,)
            left = [stat.path async for stat in box.files.list("/run")]
            assert not [path for path in left if "wasm" in path]
    await backend.destroy(spec.id)


async def test_many_compile_the_same_at_once(backend: WasmBackend, box: Sandbox) -> None:
    module = ALL.replace(b"hello", b"hallo")
    ends: list[bytes] = []

    async def one() -> None:
        spec = ProcessSpec(("m.wat",), files={"m.wat": module})
        ends.append((await run(box, spec)).stdout)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(one)
    assert ends == [b"hallo\n"] * 8


async def test_a_sandbox_that_compiles_is_nobodys_to_remove(
    backend: WasmBackend, box: Sandbox
) -> None:
    """The janitor removes what is owned and in no record; a compilation must not be that."""
    seen: set[str] = set()
    done = anyio.Event()

    async def watch() -> None:
        while not done.is_set():
            seen.update(await backend.owned())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        for number in range(5):
            module = ALL.replace(b"hello", b"hell%d" % number)
            await run(box, ProcessSpec(("m.wat",), files={"m.wat": module}))
        done.set()
    assert box.id in seen
    assert not [each for each in seen if each.startswith("wasm-")]
