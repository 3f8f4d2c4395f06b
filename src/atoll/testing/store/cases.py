"""What every class of cases stands on."""

import importlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import anyio
import pytest

from atoll.core.errors import AtollError
from atoll.core.store import Store


class StoreCases:
    """Give `opener` and the fixture `address`; or override the fixture `store` as well."""

    pytestmark = pytest.mark.anyio

    opener: ClassVar[str]
    """`module:name`, called with an address; gives `async with … as store`."""

    @pytest.fixture
    def address(self) -> str:
        """Where an empty store is to be; a second opening of it finds what the first wrote."""
        raise NotImplementedError

    @pytest.fixture
    async def store(self, address: str) -> AsyncGenerator[Store]:
        """An open, empty store."""
        async with self.open(address) as store:
            yield store

    def open(self, address: str) -> AbstractAsyncContextManager[Store]:
        """Open the store at an address."""
        return resolve(self.opener)(address)


def resolve(opener: str) -> Callable[[str], AbstractAsyncContextManager[Store]]:
    """The callable that `module:name.name` stands for."""
    module, _, path = opener.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    return found  # type: ignore[no-any-return]


async def outcomes(works: Iterable[Awaitable[Any]]) -> list[Any]:
    """Do all of them at the same time; what each returned, or our error that it raised."""
    works = list(works)
    results: list[Any] = [None] * len(works)

    async def one(place: int, work: Awaitable[Any]) -> None:
        try:
            results[place] = await work
        except AtollError as error:
            results[place] = error

    async with anyio.create_task_group() as group:
        for place, work in enumerate(works):
            group.start_soon(one, place, work)
    return results
