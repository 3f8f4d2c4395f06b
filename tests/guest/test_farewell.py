"""A warm Python that has ended well says so, where nothing else can hear of it."""

import re
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

from atoll.backends.namespace import NamespaceBackend, NamespaceConfig
from atoll.core.model import ExitReason
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import fresh, python, run, script

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "python3")]
FRAME = re.compile(rb"\0atoll:")


@pytest.fixture(scope="module")
async def box(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Sandbox, None]:
    place = Path(tmp_path_factory.mktemp("farewell"))
    async with NamespaceBackend(NamespaceConfig(place)) as backend, backend.open(fresh()) as box:
        yield box


@pytest.mark.parametrize(
    "code",
    [
        "print('out')",
        "import os; os.dup2(os.open('log', os.O_CREAT | os.O_WRONLY), 1); print('out')",
        "import os; os.close(1)",
        "import os; r, w = os.pipe(); os.dup2(w, 1); print('x', flush=True); os.read(r, 9)",
        "import os\nif os.fork(): os.wait()\nprint('out')",
        "import subprocess; subprocess.run(['echo', 'out'])",
        "import os; os.write = os._exit = os.getpid = None; print('out')",
        "import atexit; atexit.register(print, 'late')",
    ],
)
async def test_nobody_else_reads_it(box: Sandbox, code: str) -> None:
    await box.files.write("log", b"")
    done = await run(box, python(code))
    assert (done.exit.code, done.exit.reason) == (0, ExitReason.EXITED), done
    assert not FRAME.search(done.stdout + done.stderr)
    assert b"atoll" not in b"".join([each async for each in box.files.read("log")])
    assert done.exit.usage.cpu_s > 0
    assert done.exit.usage.peak_memory_bytes > 1024 * 1024


async def test_children_are_waited_for(box: Sandbox) -> None:
    code = "import subprocess; subprocess.Popen(['sh', '-c', 'sleep 0.01; echo late'])"
    assert (await run(box, python(code))).stdout == b"late\n"


async def test_all_that_was_written_comes_first(box: Sandbox) -> None:
    code = "import sys; sys.stderr.write('e' * 50_000); sys.stdout.write('o' * 200_000)"
    done = await run(box, python(code))
    assert (len(done.stdout), len(done.stderr)) == (200_000, 50_000)


async def test_who_says_it_and_does_not_end_is_ended(box: Sandbox) -> None:
    forge = """
import os, sys, time
frame = sys._getframe()
while "farewell" not in frame.f_locals:
    frame = frame.f_back
os.write(1, b"\\0atoll:%s:1:1\\n" % frame.f_locals["farewell"].encode())
time.sleep(60)
"""
    done = await run(box, python(forge))
    assert (done.exit.code, done.stdout) == (0, b"")
    count = script("ls -d /proc/[0-9]* | wc -l")
    before = int((await run(box, count)).stdout.split()[-1])
    with anyio.fail_after(15):
        while int((await run(box, count)).stdout.split()[-1]) >= before:
            await anyio.sleep(0.1)  # waits on purpose: a second is what it is given
