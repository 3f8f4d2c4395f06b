"""API keys."""

from typing import Unpack

from atoll.client import model, readers
from atoll.client.aio.transport import AsyncTransport
from atoll.client.options import KeyOptions
from atoll.client.request import delete, get, post, segment

_ROOT = "/v1/keys"


class AsyncKeys:
    """The keys of a server; most of it is for administrators."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(self, name: str, **options: Unpack[KeyOptions]) -> model.KeyInfo:
        """Make one; only this answer holds the key itself."""
        request = post(_ROOT, {"name": name, **options})
        return readers.key(await self._transport.json(request))

    async def list(self) -> list[model.KeyInfo]:
        """All that the caller may see."""
        page = await self._transport.json(get(_ROOT))
        return [readers.key(each) for each in page.items("items")]

    async def revoke(self, key_id: str) -> None:
        """End one."""
        await self._transport.send(delete(f"{_ROOT}/{segment(key_id)}"))
