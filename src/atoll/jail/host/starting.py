"""The start of a program: a confined process that waits becomes it, or nothing is left of it."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio

from atoll.core.errors import BackendFault
from atoll.core.model import ExitReason, ProcessSpec
from atoll.jail.host.process import Home, JailedProcess
from atoll.jail.host.waiting import Waiting
from atoll.wire.message import Header

START_S = 10.0


class Box(Home, Protocol):
    """What a start needs of the sandbox."""

    @property
    def id(self) -> str: ...


async def started(
    box: Box,
    spec: ProcessSpec,
    order: tuple[Header, bytes],
    confined: Callable[[], Awaitable[tuple[Waiting, int]]],
    adopt: Callable[[Waiting, JailedProcess], None],
) -> JailedProcess:
    """Have a process become what `order` says.

    `confined` gives one that waits, and its pid; `adopt` is told of the program before it runs.
    """
    process = None
    one = None
    try:
        with anyio.fail_after(START_S):
            one, pid = await confined()
            process = JailedProcess(box, spec, pid, *one.plumbed(spec))
            process.await_farewell(order[0]["farewell"])
            adopt(one, process)
            await one.become(spec, *order, box.id)
    except BaseException as error:
        if process is not None:
            process.end(ExitReason.CANCELLED)
        if isinstance(error, TimeoutError):
            raise BackendFault("The program did not start.", sandbox_id=box.id) from error
        raise
    finally:
        if one is not None:
            one.close()
    return process
