"""run-dat-sheesh's API in this process, over the namespace backend: no socket, real sandboxes."""

import io
import tarfile
from collections.abc import AsyncGenerator, Mapping
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

BASE = "http://localhost/run-dat-sheesh"
KEY = "dev-key"
VM: dict[str, Any] = {"cpu": 1, "memMb": 256, "allowIps": []}
OPTIONS: dict[str, Any] = {
    "api_key": KEY,
    "admin_email": "admin@example.com",
    "admin_password": "correct horse",
    "vm_secret_key": "word",
    "rate_limits": False,
}


@dataclass
class Spoken:
    """A server and a client of its dialect."""

    client: httpx.AsyncClient
    native: httpx.AsyncClient
    app: Any

    async def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """A success's JSON, or an error's message; the status and the shape are checked."""
        answer = await self.client.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        if status == 204:
            assert not answer.content
            return None
        found = answer.json()
        if status < 400:
            return found
        assert set(found) == ({"message", "requestId"} if status == 500 else {"message"})
        return found["message"]

    async def get(self, path: str, status: int = 200) -> Any:
        return await self.ask("GET", path, None, status)

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        return await self.ask("POST", path, body, status)

    async def vm(self, **more: Any) -> str:
        """A new VM's id."""
        return str((await self.post("/v1/vms", {**VM, **more}, 201))["id"])

    async def run(self, vm: str, cmd: str, **more: Any) -> Any:
        return await self.post(f"/v1/vms/{vm}/exec", {"cmd": cmd, **more})

    async def printed(self, vm: str, cmd: str, **more: Any) -> str:
        """What a command prints that succeeds."""
        found = await self.run(vm, cmd, **more)
        assert found["exitCode"] == 0, found
        return str(found["stdout"])

    async def ts(self, vm: str, code: str, **more: Any) -> Any:
        return await self.post(f"/v1/vms/{vm}/run-ts", {"code": code, **more})

    async def js(self, vm: str, code: str, **more: Any) -> Any:
        return await self.post(f"/v1/vms/{vm}/run-js", {"code": code, **more})

    async def upload(self, vm: str, data: bytes, dest: str = "/workspace") -> httpx.Response:
        return await self.client.post(
            f"/v1/vms/{vm}/files/upload",
            params={"dest": dest},
            content=data,
            headers={"content-type": "application/gzip"},
        )

    async def download(self, vm: str, path: str) -> httpx.Response:
        return await self.client.get(f"/v1/vms/{vm}/files/download", params={"path": path})

    def of(self, **headers: str) -> httpx.AsyncClient:
        """A client with other headers; close it."""
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 50_000))
        return httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers, timeout=60)

    @asynccontextmanager
    async def admin(self) -> AsyncGenerator[httpx.AsyncClient, None]:
        """Somebody who has logged in."""
        async with self.of() as client:
            words = {"email": "admin@example.com", "password": "correct horse"}
            answer = await client.post("/auth/login", json=words)
            assert answer.status_code == 200, answer.text
            client.headers["cookie"] = f"rds_session={answer.cookies['rds_session']}"
            yield client


def packed(files: Mapping[str, bytes], *members: tarfile.TarInfo) -> bytes:
    """A tar.gz of files, and of odd members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in members:
            tar.addfile(info)
    return out.getvalue()


def unpacked(data: bytes) -> dict[str, bytes]:
    """The entries of a tar.gz; directories are empty."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as tar:
        return {
            each.name: file.read() if each.isreg() and (file := tar.extractfile(each)) else b""
            for each in tar
        }


@asynccontextmanager
async def speaking_sheesh(
    place: Path, *, settings: dict[str, Any] | None = None, **options: Any
) -> AsyncGenerator[Spoken, None]:
    """A server that speaks it, with these options laid over `OPTIONS`."""
    chosen_options = {"run-dat-sheesh": {**OPTIONS, **options}}
    flags = {"data_dir": place, "pool_size": 0, "dialect_options": chosen_options}
    made = load({**flags, **(settings or {})}, environ={})
    kinds = await anyio.to_thread.run_sync(backends_of, made)
    async with build(made, backends=kinds) as services:
        native = await anyio.to_thread.run_sync(create_app, services, made)
        async with speaking(native.state.front, chosen(made), {}) as spoken:
            app = Switch(native, spoken)
            transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
            async with (
                httpx.AsyncClient(
                    transport=transport, base_url=BASE, timeout=60, headers={"x-api-key": KEY}
                ) as client,
                httpx.AsyncClient(
                    transport=transport, base_url="http://localhost", timeout=60
                ) as other,
            ):
                yield Spoken(client, other, app)
