"""Components: commands, typed functions, and what bounds them."""

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.backends.wasm import WasmBackend
from atoll.core.errors import InvalidRequest
from atoll.core.model import MIB, Exit, ExitReason, Limits, ProcessSpec
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import fresh, run, stream
from tests.backends.wasm import building

pytestmark = pytest.mark.anyio

TEXT = Path(building.SOURCES, "command.wat").read_bytes()
OPENED = 100  # what `opens.wat` says of a file that is there
EMPTY = b"\0asm\x0d\0\x01\0"


def command(text: bytes = TEXT, *words: str) -> ProcessSpec:
    return ProcessSpec(("c.wasm", *words), files={"c.wasm": text}, wall_s=10)


async def call(box: Sandbox, function: str, *words: str, **fields: object) -> Exit:
    spec = replace(command(TEXT, *words), function=function, **fields)  # type: ignore[arg-type]
    return (await run(box, spec)).exit


async def test_a_command(box: Sandbox) -> None:
    done = await run(box, command())
    assert (done.stdout, done.exit.code, done.exit.reason) == (b"hello\n", 0, ExitReason.EXITED)


async def test_a_command_that_fails(box: Sandbox) -> None:
    failing = TEXT.replace(b'(core func $i "run")', b'(core func $i "fail")')
    done = await run(box, command(failing))
    assert (done.stdout, done.exit.code, done.exit.reason) == (b"hello\n", 1, ExitReason.EXITED)


async def test_a_binary_of_another_minor_version(box: Sandbox) -> None:
    import wasmtime

    binary = bytes(wasmtime.wat2wasm(TEXT.replace(b"@0.2.0", b"@0.2.3").decode()))
    assert binary.startswith(b"\0asm\x0d\0\x01\0")
    assert (await run(box, command(binary))).stdout == b"hello\n"


@pytest.mark.parametrize(
    ("function", "words", "results"),
    [
        ("add", ("3", "-4"), (-1,)),
        ("half", ("3",), (1.5,)),
        ("half", ("-inf",), ("-Infinity",)),
        ("wide", ("255",), (2**64 - 255,)),
        ("flip", ("true",), (0,)),
        ("flip", ("false",), (1,)),
    ],
)
async def test_functions(
    box: Sandbox, function: str, words: tuple[str, ...], results: tuple[object, ...]
) -> None:
    ended = await call(box, function, *words)
    assert (ended.code, ended.reason, ended.results) == (0, ExitReason.EXITED, results)


async def test_a_function_of_an_interface(box: Sandbox) -> None:
    one = TEXT.replace(
        b'(instance $cli (export "run" (func $run)))',
        b'(func $a (param "a" s32) (param "b" s64) (result s64) (canon lift (core func $i "add")))'
        b'(instance $cli (export "run" (func $run)) (export "sum" (func $a)))',
    )
    spec = replace(command(one, "1", "2"), function="wasi:cli/run@0.2.0#sum")
    assert (await run(box, spec)).exit.results == (3,)


@pytest.mark.parametrize(
    ("function", "words", "said"),
    [
        ("add", ("1",), "add takes 2 arguments (a: s32, b: s64), 1 were given"),
        ("add", ("2147483648", "1"), "Argument a: '2147483648' is no s32"),
        ("add", ("x", "1"), "is no s32"),
        ("add", ("9" * 5000, "1"), "is no s32"),
        ("wide", ("-1",), "is no u8"),
        ("wide", ("256",), "is no u8"),
        ("half", ("one",), "is no f64"),
        ("flip", ("yes",), "is no bool"),
        ("leave", ("1",), "a ResultType, which cannot cross"),
        ("none", (), "exports no function 'none'"),
        ("wasi:cli/run@0.2.0#none", (), "exports no function"),
        ("no:such/thing#run", (), "exports no function"),
        ("wasi:cli/run@0.2.0", (), "exports no function"),
    ],
)
async def test_what_cannot_be_called(
    box: Sandbox, function: str, words: tuple[str, ...], said: str
) -> None:
    ended = await call(box, function, *words)
    assert (ended.code, ended.reason) == (None, ExitReason.INVALID)
    assert said in ended.detail


async def test_leaving(box: Sandbox) -> None:
    write = b"(call $write (call $get)"
    leaving = TEXT.replace(write, b"(call $exit (i32.const 1)) " + write)
    done = await run(box, command(leaving))
    assert (done.stdout, done.exit.code, done.exit.reason) == (b"", 1, ExitReason.EXITED)


@pytest.mark.parametrize(
    ("function", "name"), [("boom", "unreachable"), ("deep", "stack_overflow")]
)
async def test_traps_have_names(box: Sandbox, function: str, name: str) -> None:
    ended = await call(box, function)
    assert (ended.code, ended.reason) == (None, ExitReason.TRAP)
    assert ended.detail.startswith(f"{name}: ")


async def test_fuel_and_time(box: Sandbox) -> None:
    assert (await call(box, "spin", fuel=100_000)).reason is ExitReason.FUEL
    assert (await call(box, "add", "1", "2", fuel=100_000)).results == (3,)
    assert (await call(box, "spin", wall_s=0.3)).reason is ExitReason.WALL_TIME


async def test_memory_is_bounded(backend: WasmBackend) -> None:
    for memory, given in ((64 * MIB, -1), (512 * MIB, 1)):  # it asks for 5000 pages
        async with backend.open(fresh(limits=Limits(memory_bytes=memory))) as box:
            assert (await call(box, "grow")).results == (given,)


async def test_a_component_that_begins_too_large(backend: WasmBackend) -> None:
    text = b"(component (core module $m (memory 1024)) (core instance (instantiate $m)))"
    async with backend.open(fresh(limits=Limits(memory_bytes=16 * MIB))) as box:
        ended = (await run(box, command(text))).exit
    assert (ended.code, ended.reason) == (None, ExitReason.MEMORY)


async def test_instances_are_bounded(box: Sandbox) -> None:
    text = "(component (core module $m)%s)"
    one = " (core instance (instantiate $m))"
    many = (await run(box, command((text % (one * 100)).encode()))).exit
    assert (many.code, many.reason) == (None, ExitReason.INVALID)
    assert "instance" in many.detail
    few = (await run(box, command((text % (one * 10)).encode()))).exit
    assert "exports no wasi:cli/run@0.2" in few.detail


async def test_what_is_no_command(box: Sandbox) -> None:
    ended = (await run(box, command(EMPTY))).exit
    assert (ended.code, ended.reason) == (None, ExitReason.INVALID)
    assert "exports no wasi:cli/run@0.2" in ended.detail


@pytest.mark.parametrize(
    "name", ["wasi:http/types@0.2.0", "wasi:cli/stdout@0.3.0", "my:own/thing@1.0.0"]
)
async def test_an_import_that_nobody_has(box: Sandbox, name: str) -> None:
    text = f'(component (import "{name}" (instance (export "f" (func)))))'
    ended = (await run(box, command(text.encode()))).exit
    assert (ended.code, ended.reason) == (None, ExitReason.INVALID)
    assert name in ended.detail


@pytest.mark.parametrize("data", [EMPTY + b"\xff" * 100, b"(component (func))", EMPTY[:7] + b"\1"])
async def test_what_is_no_component(box: Sandbox, data: bytes) -> None:
    for _ in range(2):
        with pytest.raises(InvalidRequest):
            await box.start(command(data))


@pytest.mark.parametrize(
    "path",
    ["../etc/passwd", "/etc/passwd", "deep/../../etc/passwd", "up", "/proc/self/environ"],
)
async def test_files_beyond_its_directories(box: Sandbox, path: str) -> None:
    await box.files.write("own", b"own")
    await box.files.mkdir("deep")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        info = tarfile.TarInfo("workspace/up")
        info.type, info.linkname = tarfile.SYMTYPE, "../etc/passwd"
        archive.addfile(info)
    await box.files.unpack("/", stream(data.getvalue()))
    opens = Path(building.SOURCES, "opens.wat").read_bytes()

    async def opened(name: str) -> object:
        spec = ProcessSpec(("o.wat", name), files={"o.wat": opens}, function="open", wall_s=10)
        ended = (await run(box, spec)).exit
        assert len(ended.results) == 1, ended
        return ended.results[0]

    assert await opened("own") == await opened("deep/../own") == OPENED
    assert await opened(path) != OPENED
