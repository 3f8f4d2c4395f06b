"""Hold kept sandboxes to their disk limit, since a directory has no size of its own."""

import time
from collections.abc import Callable, Collection
from typing import Protocol, TypeVar

import anyio
from anyio import to_thread

from atoll.core.model import SandboxSpec

_PERIOD_S = 0.5
# Counting may take this share of the time, so that sandboxes with many files cost no more.
_SHARE = 0.1


Place = TypeVar("Place")


class Bounded(Protocol):
    """A sandbox whose disk is counted."""

    spec: SandboxSpec

    @property
    def busy(self) -> bool:
        """Whether a program runs in it."""
        ...

    def over_disk(self) -> None:
        """There is more than may be: end what runs."""
        ...


async def watch_disks(
    usage: Callable[[Place], tuple[int, int]],
    kept: Callable[[], Collection[tuple[Bounded, Place]]],
) -> None:
    """Count what sandboxes with running programs have written; end those of which it is too much.

    `kept` gives each open one with its place, `usage` the bytes and files of a place. Runs until
    cancelled. A single file is bounded by the kernel (RLIMIT_FSIZE) at once; many files together
    are noticed at the next count.
    """
    pause = _PERIOD_S
    while True:
        await anyio.sleep(pause)
        began = time.monotonic()
        for sandbox, place in list(kept()):
            if not sandbox.busy:
                continue
            size, files = await to_thread.run_sync(usage, place)
            limits = sandbox.spec.limits
            if size > limits.disk_bytes or files > limits.disk_files:
                sandbox.over_disk()
        pause = max(_PERIOD_S, (time.monotonic() - began) / _SHARE)
