"""WASI preview 1, as programs use it, and as attackers would."""

import anyio.to_thread
import pytest

from atoll.core.model import ExitReason, ProcessSpec
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import run
from tests.backends.wasm import building

pytestmark = pytest.mark.anyio

CHECKS = (
    "files", "directories", "symlinks", "seek", "truncate", "cookies", "rights", "escapes",
    "clocks", "random", "poll", "times",
)  # fmt: skip
MORE = (
    "descriptors", "directory", "preopens", "paths", "links", "flags", "vectors", "arguments",
    "chance", "streams", "waits",
)  # fmt: skip


@pytest.fixture(scope="module")
async def more() -> bytes:
    path = await anyio.to_thread.run_sync(building.module, "wasi_more")
    return path.read_bytes()


@pytest.mark.parametrize("check", CHECKS)
async def test_preview_1(box: Sandbox, wasi: bytes, check: str) -> None:
    done = await run(box, ProcessSpec(("wasi.wasm", check), files={"wasi.wasm": wasi}))
    assert (done.stdout, done.stderr, done.exit.code) == (b"ok\n", b"", 0), done.exit


@pytest.mark.parametrize("check", MORE)
async def test_preview_1_by_its_own_calls(box: Sandbox, more: bytes, check: str) -> None:
    spec = ProcessSpec(
        ("more.wasm", check, "", "zwei ä"), files={"more.wasm": more}, env={"GIVEN": "a=b ä"}
    )
    done = await run(box, spec, b"!")
    assert (done.stdout, done.stderr, done.exit.code) == (b"ok\n", b"", 0), done.exit


@pytest.mark.parametrize("what", ["wild", "odd"])
async def test_a_call_that_cannot_be_is_a_trap(box: Sandbox, more: bytes, what: str) -> None:
    done = await run(box, ProcessSpec(("more.wasm", what), files={"more.wasm": more}), b"!")
    assert (done.stdout, done.exit.reason) == (b"", ExitReason.TRAP)
    assert done.exit.detail.startswith("bad_call: ")


async def test_a_check_can_fail(box: Sandbox, wasi: bytes) -> None:
    done = await run(box, ProcessSpec(("wasi.wasm", "nothing"), files={"wasi.wasm": wasi}))
    assert (done.stdout, done.exit.code) == (b"no such check\n", 2)
