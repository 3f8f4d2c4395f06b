"""WASI preview 1, as programs use it, and as attackers would."""

import pytest

from atoll.core.model import ProcessSpec
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import run

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

CHECKS = (
    "files", "directories", "symlinks", "seek", "truncate", "cookies", "rights", "escapes",
    "clocks", "random", "poll", "times",
)  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
async def test_preview_1(box: Sandbox, wasi: bytes, check: str) -> None:
    done = await run(box, ProcessSpec(("wasi.wasm", check), files={"wasi.wasm": wasi}))
    assert (done.stdout, done.stderr, done.exit.code) == (b"ok\n", b"", 0)


async def test_a_check_can_fail(box: Sandbox, wasi: bytes) -> None:
    done = await run(box, ProcessSpec(("wasi.wasm", "nothing"), files={"wasi.wasm": wasi}))
    assert (done.stdout, done.exit.code) == (b"no such check\n", 2)
