"""Hold kept sandboxes to their disk limit, since a directory has no size of its own."""

import time
from collections.abc import Callable, Collection

import anyio
from anyio import to_thread

from atoll.backends.namespace.disk import Disk
from atoll.backends.namespace.sandbox import NamespaceSandbox

_PERIOD_S = 0.5
# Counting may take this share of the time, so that sandboxes with many files cost no more.
_SHARE = 0.1


async def watch_disks(
    disk: Disk, kept: Callable[[], Collection[tuple[NamespaceSandbox, str]]]
) -> None:
    """Count what sandboxes with running programs have written; end those of which it is too much.

    `kept` gives each open one with its upper layer. Runs until cancelled. A single file is bounded
    by the kernel (RLIMIT_FSIZE) at once; many files together are noticed at the next count.
    """
    pause = _PERIOD_S
    while True:
        await anyio.sleep(pause)
        began = time.monotonic()
        for sandbox, layer in list(kept()):
            if not sandbox.busy:
                continue
            size, files = await to_thread.run_sync(disk.usage, [layer])
            limits = sandbox.spec.limits
            if size > limits.disk_bytes or files > limits.disk_files:
                sandbox.over_disk()
        pause = max(_PERIOD_S, (time.monotonic() - began) / _SHARE)
