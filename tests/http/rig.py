"""The whole application in this process: the fake backend, a database in a file, no socket."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio.to_thread
import httpx

from atoll.backends.fake import FakeBackend
from atoll.bootstrap import build
from atoll.http.app import Application, create_app
from atoll.http.services import Services
from atoll.settings import Settings, load

LOOPBACK = ("127.0.0.1", 50_000)
ELSEWHERE = ("203.0.113.9", 50_000)


@dataclass
class Web:
    """One server and a client on its loopback."""

    app: Application
    services: Services
    backend: FakeBackend
    settings: Settings
    client: httpx.AsyncClient

    def client_from(self, peer: tuple[str, int] = ELSEWHERE, **more: Any) -> httpx.AsyncClient:
        """A client with another address; close it."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, client=peer),
            base_url=more.pop("base_url", "http://localhost"),
            **more,
        )

    async def key(self, **fields: Any) -> str:
        """A new API key."""
        made = await self.client.post("/v1/keys", json={"name": "test", **fields})
        assert made.status_code == 201, made.text
        return str(made.json()["key"])


@asynccontextmanager
async def served(backend: FakeBackend | None = None, **settings: Any) -> AsyncGenerator[Web, None]:
    """An application that is open for the length of the block."""
    backend = backend or FakeBackend()
    with TemporaryDirectory() as directory:
        flags = {"data_dir": Path(directory), "pool_size": 2, "drain_s": 1.0, **settings}
        chosen = load(flags, environ={})
        async with build(chosen, backends=[backend]) as services:
            app = await anyio.to_thread.run_sync(create_app, services, chosen)
            transport = httpx.ASGITransport(app, client=LOOPBACK)
            async with httpx.AsyncClient(
                transport=transport, base_url="http://localhost"
            ) as client:
                yield Web(app, services, backend, chosen, client)


def events_of(text: str) -> list[tuple[str, str, str]]:
    """The events of a stream: id, kind, data."""
    found: list[tuple[str, str, str]] = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line[1:])
        if fields:
            found.append((fields.get("id", ""), fields["event"], fields["data"]))
    return found
