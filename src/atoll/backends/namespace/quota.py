"""Hold a kept sandbox to its disk limit, since a directory has no size of its own."""

import time

import anyio
from anyio import to_thread

from atoll.backends.namespace.disk import Disk
from atoll.backends.namespace.sandbox import NamespaceSandbox

_PERIOD_S = 0.5
# A scan may take this share of the time, so that a sandbox with many files costs no more.
_SHARE = 0.1


async def watch_disk(
    sandbox: NamespaceSandbox, disk: Disk, layer: str, scope: anyio.CancelScope
) -> None:
    """While programs run, count what the sandbox has written; end them when it is too much.

    Runs until `scope` is cancelled. A single file is bounded by the kernel (RLIMIT_FSIZE) at once; many
    files together are noticed at the next count.
    """
    with scope:
        limits = sandbox.spec.limits
        pause = _PERIOD_S
        while True:
            await anyio.sleep(pause)
            if not sandbox.busy:
                continue
            began = time.monotonic()
            size, files = await to_thread.run_sync(disk.usage, [layer])
            pause = max(_PERIOD_S, (time.monotonic() - began) / _SHARE)
            if size > limits.disk_bytes or files > limits.disk_files:
                sandbox.over_disk()
