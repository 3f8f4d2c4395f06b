# Generated from atoll/client/aio by scripts/sync_client.py. Change it there.
# fmt: off
# ruff: noqa: C416, I001, RUF100, UP028
"""API keys."""

from typing import Unpack

from atoll.client import model, readers
from atoll.client.sync.transport import Transport
from atoll.client.options import KeyOptions
from atoll.client.request import delete, get, post, segment

_ROOT = "/v1/keys"


class Keys:
    """The keys of a server; most of it is for administrators."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, **options: Unpack[KeyOptions]) -> model.KeyInfo:
        """Make one; only this answer holds the key itself."""
        request = post(_ROOT, {"name": name, **options})
        return readers.key(self._transport.json(request))

    def list(self) -> list[model.KeyInfo]:
        """All that the caller may see."""
        page = self._transport.json(get(_ROOT))
        return [readers.key(each) for each in page.items("items")]

    def revoke(self, key_id: str) -> None:
        """End one."""
        self._transport.send(delete(f"{_ROOT}/{segment(key_id)}"))
