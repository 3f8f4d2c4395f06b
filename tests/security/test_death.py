"""When the server is killed, nothing that it started goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from anyio import to_thread

from atoll.testing.backend.running import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

SERVER = """
import anyio, sys
from pathlib import Path
from atoll.backends.namespace import NamespaceBackend, NamespaceConfig
from atoll.testing.backend.running import fresh, program

async def main():
    async with NamespaceBackend(NamespaceConfig(Path(sys.argv[1]))) as backend:
        async with backend.open(fresh(persistent=sys.argv[2] == "kept")) as box:
            await box.start(program("sh", "-c", "trap '' TERM HUP; sleep 271.828 & sleep 271.828"))
            print("on", flush=True)
            await anyio.sleep_forever()

anyio.run(main)
"""


def sleepers() -> int:
    count = 0
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            count += entry.read_bytes() == b"sleep\x00271.828\0"
        except OSError:
            continue
    return count


@pytest.mark.parametrize("shape", ["fresh", "kept"])
async def test_nothing_survives_the_server(tmp_path: Path, shape: str) -> None:
    def killed() -> int:
        path = os.pathsep.join(sys.path)
        with subprocess.Popen(
            [sys.executable, "-c", SERVER, str(tmp_path), shape],
            env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE,
        ) as server:  # fmt: skip
            assert server.stdout is not None
            server.stdout.readline()
            seen = 0
            for _ in range(500):
                seen = sleepers()
                if seen == 2:
                    break
                time.sleep(0.01)  # waits on purpose: a guest that has died is noticed
            server.send_signal(signal.SIGKILL)
        return seen

    assert await to_thread.run_sync(killed) == 2

    async def gone() -> bool:
        return await to_thread.run_sync(sleepers) == 0

    assert await eventually(gone)
