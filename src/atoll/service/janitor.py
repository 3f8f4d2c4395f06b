"""Puts right what a crash, an expiry or a lost disk left behind."""

from anyio import AsyncContextManagerMixin


class Janitor(AsyncContextManagerMixin):
    """`async with janitor` reconciles once, then runs until the block is left."""

    async def reconcile(self, *, at_start: bool = False) -> None:
        """Compare what the backends hold with what the store knows."""
        raise NotImplementedError
