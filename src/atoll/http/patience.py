"""Work for a client that may hang up."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import anyio
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from atoll.http.middleware.boundary import single

T = TypeVar("T")
SOON_S = 0.1


async def while_connected(receive: Receive, work: Awaitable[T]) -> T:
    """Do the work; cancel it and raise `ClientDisconnect` when the client hangs up.

    The body must have been read. Nobody listens in the first 0.1 s: most work is done by then, and
    a listener costs a task.
    """
    outcome: list[T] = []
    loop = asyncio.get_running_loop()
    try:
        async with anyio.create_task_group() as group:
            timer = loop.call_later(SOON_S, group.start_soon, _watch, receive, group.cancel_scope)
            try:
                outcome.append(await work)
            finally:
                timer.cancel()
            group.cancel_scope.cancel()
    except BaseExceptionGroup as error:
        raise single(error) from None
    if not outcome:
        raise ClientDisconnect
    return outcome[0]


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
