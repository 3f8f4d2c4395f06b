"""agentkernel's API in this process, over the namespace backend: no socket, real sandboxes."""

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio.to_thread
import httpx

from atoll.bootstrap import backends_of, build, speaking
from atoll.dialects import chosen
from atoll.http.app import create_app
from atoll.http.dialect import Switch
from atoll.settings import load

BASE = "http://localhost/agentkernel"
Event = tuple[str, dict[str, Any]]


@dataclass
class Spoken:
    """A server, a client of its dialect and one of its native API."""

    client: httpx.AsyncClient
    native: httpx.AsyncClient
    app: Any

    async def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """A success's data, or an error's text; the envelope and the status are checked."""
        answer = await self.client.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        found = answer.json()
        if status < 400:
            assert found["success"] is True
            return found["data"]
        assert found["success"] is False
        return found["error"]

    async def get(self, path: str, status: int = 200) -> Any:
        return await self.ask("GET", path, None, status)

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        return await self.ask("POST", path, body, status)

    async def delete(self, path: str, status: int = 200) -> Any:
        return await self.ask("DELETE", path, None, status)

    async def printed(self, name: str, *command: str, **more: Any) -> str:
        """What a command prints in a sandbox."""
        found = await self.post(f"/sandboxes/{name}/exec", {"command": list(command), **more})
        return str(found["output"])

    async def events(self, body: dict[str, Any]) -> list[Event]:
        """All events of a streamed run."""
        answer = await self.client.post("/run/stream", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-cache"
        return told(answer.text)

    def of(self, **headers: str) -> httpx.AsyncClient:
        """A client with other headers; close it."""
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 50_000))
        return httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers)


def told(text: str) -> list[Event]:
    """The events of a whole stream."""
    found: list[Event] = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


@asynccontextmanager
async def speaking_agentkernel(
    place: Path, *, settings: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[Spoken, None]:
    """A server that speaks it, with these options."""
    flags = {"data_dir": place, "pool_size": 2, "dialect_options": {"agentkernel": options}}
    made = load({**flags, **(settings or {})}, environ={})
    kinds = await anyio.to_thread.run_sync(backends_of, made)
    async with build(made, backends=kinds) as services:
        native = await anyio.to_thread.run_sync(create_app, services, made)
        async with speaking(native.state.front, chosen(made), {}) as spoken:
            app = Switch(native, spoken)
            transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
            async with (
                httpx.AsyncClient(transport=transport, base_url=BASE, timeout=60) as client,
                httpx.AsyncClient(
                    transport=transport, base_url="http://localhost", timeout=60
                ) as other,
            ):
                yield Spoken(client, other, app)
