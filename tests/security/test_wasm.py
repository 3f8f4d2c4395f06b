"""What a WebAssembly module cannot reach, and that what it may reach it does."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio.to_thread
import pytest

from atoll.backends.wasm import Program, WasmBackend
from atoll.bootstrap import wasm_backend
from atoll.core.errors import InvalidRequest
from atoll.core.model import MIB, ExitReason, Limits, ProcessSpec
from atoll.core.ports import Sandbox
from atoll.guest.wasm import engine
from atoll.settings import Settings
from atoll.testing.backend.running import fresh, program, run
from tests.backends.wasm import building

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

GROWS = b"""(module (memory 1)
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))"""
PAGE = 64 * 1024


@pytest.fixture(scope="session")
async def wasm(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[WasmBackend, None]:
    toolbox = Program(await anyio.to_thread.run_sync(building.module, "toolbox"))
    place = Path(tmp_path_factory.mktemp("wasm"))
    programs = dict.fromkeys(("sh", "cat", "env", "ln"), toolbox)
    async with wasm_backend(Settings(data_dir=place), programs=programs) as backend:
        yield backend


@pytest.fixture
async def inside(wasm: WasmBackend) -> AsyncGenerator[Sandbox, None]:
    async with wasm.open(fresh()) as box:
        await box.files.write("own", b"own")
        yield box


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "/workspace/../etc/passwd",
        "../etc/passwd",
        "/proc/self/environ",
        "/proc/1/cmdline",
        "/dev/null",
        "/run/atoll-wasm-1.json",
        "/opt/atoll/lib/atoll/guest/wasm/program.py",
        "/usr/bin/python3",
    ],
)
async def test_nothing_but_its_directories_is_there(inside: Sandbox, path: str) -> None:
    assert (await run(inside, program("cat", "own", "/workspace/own"))).stdout == b"ownown"
    refused = await run(inside, program("cat", path))
    assert (refused.stdout, refused.exit.code) == (b"", 1)


async def test_the_files_are_there_for_the_worker(one_shot: Sandbox) -> None:
    """The other half: without the engine, a program of the same jail reads them."""
    for path in ("/etc/passwd", "/proc/self/environ"):
        assert (await run(one_shot, program("cat", path))).stdout


async def test_links_lead_no_module_out(inside: Sandbox) -> None:
    assert (await run(inside, program("ln", "-s", "own", "good"))).exit.code == 0
    assert (await run(inside, program("cat", "good"))).stdout == b"own"
    assert (await run(inside, program("ln", "-s", "../etc/passwd", "bad"))).exit.code == 0
    refused = await run(inside, program("cat", "bad"))
    assert (refused.stdout, refused.exit.code) == (b"", 1)


async def test_a_clients_compiled_code_is_never_loaded(wasm: WasmBackend, inside: Sandbox) -> None:
    import wasmtime

    text = b'(module (func (export "_start")))'
    spec = ProcessSpec(("m.wat",), files={"m.wat": text})
    assert (await run(inside, spec)).exit.code == 0
    code = await wasm.of_module(text, fuel=False)
    path = wasm.code_path(code)
    wasmtime.Module.deserialize_file(engine.engine(fuel=False), str(path))  # it is good code
    engine._engine.cache_clear()
    for name in ("m.wasm", "m.cwasm"):
        with pytest.raises(InvalidRequest, match="not WebAssembly"):
            await inside.start(ProcessSpec((name,), files={name: path.read_bytes()}))


async def test_no_variable_of_the_server_or_the_worker_is_inherited(inside: Sandbox) -> None:
    os.environ["ATOLL_TEST_SECRET"] = "of the server"
    try:
        done = await run(inside, ProcessSpec(("env",), env={"GIVEN": "yes"}))
    finally:
        del os.environ["ATOLL_TEST_SECRET"]
    names = {line.partition(b"=")[0] for line in done.stdout.splitlines()}
    assert names == {b"HOME", b"PATH", b"LANG", b"PWD", b"GIVEN"}


async def test_memory_beyond_the_limit_is_not_given(wasm: WasmBackend) -> None:
    pages = 64 * MIB // PAGE
    for memory, given in ((32 * MIB, -1), (128 * MIB, 1)):
        async with wasm.open(fresh(limits=Limits(memory_bytes=memory))) as box:
            spec = ProcessSpec(("g.wat", str(pages)), files={"g.wat": GROWS}, function="grow")
            assert (await run(box, spec)).exit.results == (given,)


async def test_a_module_has_no_way_to_start_or_connect(inside: Sandbox) -> None:
    for name in ("sock_open", "sock_connect", "proc_fork", "proc_exec"):
        text = (
            f'(module (import "wasi_snapshot_preview1" "{name}" (func)) (func (export "_start")))'
        )
        ended = (await run(inside, ProcessSpec(("m.wat",), files={"m.wat": text.encode()}))).exit
        assert ended.reason is ExitReason.INVALID
        assert name in ended.detail


async def test_the_next_sandbox_finds_nothing_of_the_last(wasm: WasmBackend) -> None:
    for turn in range(2):
        async with wasm.open(fresh()) as box:
            found = await run(box, program("cat", "/tmp/left", "/workspace/left"))
            assert found.exit.code == 1, turn
            assert (await run(box, program("sh", "-c", "echo x > /tmp/left"))).exit.code == 0
            assert (await run(box, program("cat", "/tmp/left"))).stdout == b"x\n"
