"""How many streams and terminals are open, and may be."""

from collections.abc import Generator
from contextlib import contextmanager

import anyio
from prometheus_client import Gauge

from atoll.core.errors import Busy


class Streams:
    """Counts those that are open."""

    def __init__(self, most: int, gauge: Gauge) -> None:
        self._most = most
        self._gauge = gauge
        self._open = 0
        self._followers: set[anyio.CancelScope] = set()
        self.draining = False

    @contextmanager
    def one(self) -> Generator[None, None, None]:
        """Count one for the length of the block; `Busy` when there are too many."""
        if self._open >= self._most:
            raise Busy(f"{self._most} streams are open, which is all there may be.")
        self._open += 1
        self._gauge.inc()
        try:
            yield
        finally:
            self._open -= 1
            self._gauge.dec()

    @contextmanager
    def follower(self) -> Generator[anyio.CancelScope, None, None]:
        """For the length of a block that has no end of its own: the server's drain ends it."""
        with anyio.CancelScope() as scope:
            self._followers.add(scope)
            try:
                yield scope
            finally:
                self._followers.discard(scope)

    def end_followers(self) -> None:
        """The server drains: end what would go on for as long as its client."""
        self.draining = True
        for scope in tuple(self._followers):
            scope.cancel()
