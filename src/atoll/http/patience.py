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
    listeners: list[anyio.CancelScope] = []
    try:
        async with anyio.create_task_group() as group:

            def listen() -> None:
                listeners.append(group.cancel_scope)
                group.start_soon(_watch, receive, group.cancel_scope)

            timer = asyncio.get_running_loop().call_later(SOON_S, listen)
            try:
                outcome.append(await work)
            finally:
                timer.cancel()
            for scope in listeners:  # cancelling nobody would cost as much as the rest
                scope.cancel()
    except BaseExceptionGroup as error:
        raise single(error) from None
    if not outcome:
        raise ClientDisconnect
    return outcome[0]


async def _watch(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
