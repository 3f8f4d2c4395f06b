"""The async half of the few things that the two drivers do differently."""

from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

import httpx
from anyio import CancelScope, sleep, to_thread
from websockets.asyncio.client import ClientConnection, connect

from atoll.client.request import Body

__all__ = ["Http", "Response", "Socket", "blocking", "connect", "pump", "sleep", "surely"]

Http = httpx.AsyncClient
Response = httpx.Response
Socket = ClientConnection

T = TypeVar("T")


async def blocking(work: Callable[[], T]) -> T:
    """Do what touches a disk in a thread, so that it does not stop the loop."""
    return await to_thread.run_sync(work)


async def surely(work: Callable[[], None]) -> None:
    """Do what is short and must be done also while being cancelled."""
    with CancelScope(shield=True):
        await blocking(work)


async def pump(body: Body) -> AsyncGenerator[bytes, None]:
    """Draw from an iterator that touches a disk."""
    chunks = body()
    while (chunk := await blocking(lambda: next(chunks, None))) is not None:
        yield chunk
