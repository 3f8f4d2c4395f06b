"""The sync half of the few things that the two drivers do differently."""

from collections.abc import Callable, Generator
from time import sleep
from typing import TypeVar

import httpx
from websockets.sync.client import ClientConnection, connect

from atoll.client.request import Body

__all__ = ["Http", "Response", "Socket", "blocking", "connect", "pump", "sleep", "surely"]

Http = httpx.Client
Response = httpx.Response
Socket = ClientConnection

T = TypeVar("T")


def blocking(work: Callable[[], T]) -> T:
    """Do it here."""
    return work()


def surely(work: Callable[[], None]) -> None:
    """Do it here."""
    work()


def pump(body: Body) -> Generator[bytes, None]:
    """Draw from an iterator that touches a disk."""
    yield from body()
