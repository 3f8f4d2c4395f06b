"""Limits of a whole sandbox, each with a reason of its own."""

from dataclasses import replace

import pytest

from atoll.core.model import MIB, ExitReason, Limits
from atoll.core.ports import Backend, Sandbox
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import fresh, program, python, run, script

SMALL = Limits(
    memory_bytes=128 * MIB, processes=24, disk_bytes=8 * MIB, disk_files=200, open_files=64
)

HOLD = "x = bytearray(b'x') * (%d << 20)\nprint('held', flush=True)\n"

TREE = """
import subprocess, sys
hold = "import time; x = bytearray(b'x') * (%d << 20); time.sleep(1.5)"
children = [subprocess.Popen([sys.executable, "-c", hold]) for _ in range(6)]
sys.exit(max(abs(child.wait()) for child in children))
"""

MANY_FILES = """
held = []
for number in range(%d):
    held.append(open(f"{number}.tmp", "w"))
"""

MANY_INODES = """
for number in range(%d):
    open(f"{number}.tmp", "w").close()
"""

MANY_PROCESSES = """
i=0
while [ $i -lt %d ]; do sleep 3 & i=$((i+1)); done
wait
"""


class LimitCases(Cases):
    """`SandboxSpec.limits`."""

    theme_needs = ("programs",)

    async def _still_works(self, box: Sandbox) -> None:
        done = await run(box, script("echo fine"))
        assert (done.stdout, done.exit.reason) == (b"fine\n", ExitReason.EXITED)

    @needs("python", "limit:memory")
    async def test_memory(self, backend: Backend) -> None:
        async with backend.open(fresh(limits=SMALL)) as box:
            enough = await run(box, python(HOLD % 40))
            assert (enough.stdout, enough.exit.code) == (b"held\n", 0)
            done = await run(box, python(HOLD % 400))
            assert (done.stdout, done.exit.reason) == (b"", ExitReason.MEMORY)
            await self._still_works(box)

    @needs("python", "limit:memory")
    async def test_memory_is_that_of_the_whole_tree(self, backend: Backend) -> None:
        async with backend.open(fresh(limits=SMALL)) as box:
            done = await run(box, python(TREE % 60))
            assert done.exit.reason is ExitReason.MEMORY
            await self._still_works(box)

    @needs("shell", "limit:processes")
    async def test_processes(self, backend: Backend) -> None:
        async with backend.open(fresh(limits=SMALL)) as box:
            done = await run(box, script(MANY_PROCESSES % 64, wall_s=8))
            assert done.exit.reason is ExitReason.PIDS
        async with backend.open(fresh(limits=SMALL)) as box:
            some = await run(box, script("sleep 0.1 & sleep 0.1 & sleep 0.1 & wait; echo fine"))
            assert (some.stdout, some.exit.code) == (b"fine\n", 0)

    @needs("limit:disk")
    @pytest.mark.parametrize("persistent", [False, True])
    async def test_disk(self, backend: Backend, persistent: bool) -> None:  # noqa: FBT001
        fill = "head -c %d /dev/zero > big"
        spec = fresh(limits=SMALL, persistent=persistent)
        async with backend.open(spec) as box:
            done = await run(box, script(fill % (32 * MIB)))
            assert done.exit.reason is ExitReason.DISK
            freed = await run(box, script("rm big && " + fill % MIB))
            assert (freed.exit.code, freed.exit.reason) == (0, ExitReason.EXITED)
            assert (await box.files.stat("big")).size == MIB
            await self._still_works(box)
        await backend.destroy(spec.id)

    @needs("python", "limit:disk_files")
    async def test_number_of_files(self, backend: Backend) -> None:
        async with backend.open(fresh(limits=SMALL)) as box:
            assert (await run(box, python(MANY_INODES % 50))).exit.code == 0
            done = await run(box, python(MANY_INODES % 400))
            assert done.exit.reason is ExitReason.DISK

    @needs("python", "limit:open_files")
    async def test_open_files(self, backend: Backend) -> None:
        async with backend.open(fresh(limits=replace(SMALL, disk_files=4096))) as box:
            assert (await run(box, python(MANY_FILES % 20))).exit.code == 0
            done = await run(box, python(MANY_FILES % 200))
            assert done.exit.reason is ExitReason.OPEN_FILES
            await self._still_works(box)

    async def test_a_failure_within_the_limits_is_not_blamed_on_them(
        self, backend: Backend
    ) -> None:
        async with backend.open(fresh(limits=SMALL)) as box:
            done = await run(box, program("false"))
            assert (done.exit.code, done.exit.reason) == (1, ExitReason.EXITED)
