"""wasmrun's API in this process, over the namespace backend: no socket, real sandboxes."""

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
from atoll.service.clock import SystemClock
from atoll.settings import load

BASE = "http://localhost/wasmrun/api/v1"


class LeapingClock(SystemClock):
    """The machine's clock, with leaps ahead."""

    leapt_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.leapt_s


@dataclass
class Session:
    """One session, and what clients do in it."""

    client: httpx.AsyncClient
    id: str

    async def exec(self, status: int = 200, /, **body: Any) -> dict[str, Any]:
        """Execute; the result."""
        answer = await self.client.post(f"/sessions/{self.id}/exec", json=body)
        assert answer.status_code == status, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def printed(self, source: str, **body: Any) -> str:
        """Run a source that must succeed; its output."""
        found = await self.exec(source=source, **body)
        assert found["exit_code"] == 0, found
        assert "error" not in found, found
        return str(found["stdout"])

    async def write(self, path: str, content: str, **more: Any) -> httpx.Response:
        body = {"path": path, "content": content, **more}
        return await self.client.post(f"/sessions/{self.id}/files", json=body)

    async def read(self, path: str, **more: str) -> httpx.Response:
        return await self.client.get(f"/sessions/{self.id}/files", params={"path": path, **more})


@dataclass
class Spoken:
    """A server, its clock and a client of its dialect."""

    client: httpx.AsyncClient
    native: httpx.AsyncClient
    clock: LeapingClock
    app: Any
    front: Any
    dialect: Any

    async def session(self, **limits: int) -> Session:
        body = {"limits": limits} if limits else None
        answer = await self.client.post("/sessions", json=body)
        assert answer.status_code == 200, answer.text
        return Session(self.client, answer.json()["session_id"])

    def of(self, key: str) -> httpx.AsyncClient:
        """A client with a key; close it."""
        head = {"authorization": f"Bearer {key}"}
        return httpx.AsyncClient(transport=_transport(self.app), base_url=BASE, headers=head)


def _transport(app: Any) -> httpx.ASGITransport:
    return httpx.ASGITransport(app, client=("127.0.0.1", 50_000))


@asynccontextmanager
async def speaking_wasmrun(
    place: Path, *, settings: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[Spoken, None]:
    """A server that speaks it, with these options."""
    flags = {"data_dir": place, "pool_size": 0, "dialect_options": {"wasmrun": options}}
    made = load({**flags, **(settings or {})}, environ={})
    clock = LeapingClock()
    kinds = await anyio.to_thread.run_sync(backends_of, made)
    async with build(made, backends=kinds, clock=clock) as services:
        native = await anyio.to_thread.run_sync(create_app, services, made)
        front = native.state.front
        async with speaking(front, chosen(made), {}) as spoken:
            app = Switch(native, spoken)
            async with (
                httpx.AsyncClient(transport=_transport(app), base_url=BASE, timeout=60) as client,
                httpx.AsyncClient(
                    transport=_transport(app), base_url="http://localhost", timeout=60
                ) as other,
            ):
                mine = next(each.app for each in spoken if each.name == "wasmrun")
                yield Spoken(client, other, clock, app, front, mine)
