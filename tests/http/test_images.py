"""Images over HTTP: seen by all, changed by admins, named in requests."""

import json
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio import to_thread

from atoll.bootstrap import backends_of, build
from atoll.http.app import create_app
from atoll.http.services import Services
from atoll.settings import load
from tests.http.rig import LOOPBACK, Web, events_of, served
from tests.images.registry import layout, push, registry
from tests.images.tars import busybox, tar

pytestmark = pytest.mark.anyio
REAL = pytest.mark.needs("userns", "cmd:skopeo", "cmd:docker-registry", "cmd:busybox")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Generator[str, None, None]:
    place = Path(tmp_path_factory.mktemp("registry"))
    with registry(place) as address:
        new = tar(("etc/new", b"new\n"))
        source = layout(place / "one", [busybox("sh", "cat"), new], {"Env": ["KIND=pulled"]})
        push(source, f"{address}/team/app:1")
        yield address


@asynccontextmanager
async def listening(
    settings: dict[str, Any],
) -> AsyncGenerator[tuple[httpx.AsyncClient, Services], None]:
    """A server with the namespace backend, in this process."""
    chosen = load(settings, environ={})
    kinds = await to_thread.run_sync(backends_of, chosen)
    async with build(chosen, backends=kinds) as services:
        app = await to_thread.run_sync(create_app, services, chosen)
        transport = httpx.ASGITransport(app, client=LOOPBACK)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", timeout=60
        ) as client:
            yield client, services


@pytest.fixture
async def client(tmp_path: Path, address: str) -> AsyncGenerator[httpx.AsyncClient, None]:
    settings = {
        "data_dir": tmp_path, "backends": ("namespace",), "pool_size": 0,
        "image_registries": (address,),
    }  # fmt: skip
    async with listening(settings) as (client, _):
        yield client


@REAL
async def test_from_pull_to_collection(client: httpx.AsyncClient, address: str) -> None:
    name = f"{address}/team/app:1"
    refused = await client.post("/v1/run", json={"command": "cat /etc/new", "image": name})
    assert refused.status_code == 422
    assert f"atoll images pull {name}" in refused.text
    told = events_of((await client.post("/v1/images", json={"name": name})).text)
    assert {kind for _, kind, _ in told} == {"progress", "done"}
    digest = json.loads(told[-1][2])["digest"]
    listed = (await client.get("/v1/images")).json()["items"]
    assert [(each["names"], each["digest"]) for each in listed] == [([name], digest)]
    assert (await client.get(f"/v1/images/{name}")).json()["env"] == {"KIND": "pulled"}
    body = {"command": 'cat /etc/new; echo "$KIND"', "image": name}
    assert (await client.post("/v1/run", json=body)).json()["stdout"] == "new\npulled\n"

    made = (await client.post("/v1/sandboxes", json={"image": name})).json()
    assert made["image"] == f"{name}@{digest}"
    assert (await client.delete(f"/v1/images/{name}")).status_code == 204
    assert (await client.post("/v1/images/gc")).json()["images"] == []
    ran = await client.post(f"/v1/sandboxes/{made['id']}/exec", json={"command": "cat /etc/new"})
    assert ran.json()["stdout"] == "new\n"
    fork = (await client.post(f"/v1/sandboxes/{made['id']}/fork", json={})).json()
    assert fork["image"] == made["image"]
    for each in (made, fork):
        assert (await client.delete(f"/v1/sandboxes/{each['id']}")).is_success
    done = (await client.post("/v1/images/gc")).json()
    assert (done["images"], done["layers"]) == ([digest.removeprefix("sha256:")], 2)
    assert (await client.get(f"/v1/images/{name}")).status_code == 404


@REAL
async def test_a_pull_that_fails_says_why(client: httpx.AsyncClient, address: str) -> None:
    told = events_of((await client.post("/v1/images", json={"name": f"{address}/none:1"})).text)
    assert told[-1][1] == "error"
    assert "could not be had" in told[-1][2]
    short = (await client.post("/v1/images", json={"name": "app:1"})).json()
    assert "image_registry" in short["detail"]


@pytest.fixture
async def web() -> AsyncGenerator[Web, None]:
    async with served() as web:
        yield web


async def test_usual_names_are_the_host(web: Web) -> None:
    body = {"command": "echo fine", "image": "python:3.12-alpine"}
    assert (await web.client.post("/v1/run", json=body)).json()["stdout"] == "fine\n"
    made = (await web.client.post("/v1/sandboxes", json={"image": "alpine:3.20"})).json()
    assert made["image"] == "host"


@pytest.mark.parametrize("name", ["nothing:1", "No", "../x", "a@sha256:" + "0" * 64])
async def test_other_names_are_refused(web: Web, name: str) -> None:
    for path, body in (("/v1/run", {"command": "echo x"}), ("/v1/sandboxes", {})):
        answer = await web.client.post(path, json={**body, "image": name})
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["field"] == "image" if "errors" in answer.json() else True
    assert (await web.client.delete("/v1/images/nothing:1")).status_code == 404
    assert (await web.client.get("/v1/images")).json() == {"items": []}


async def test_only_admins_change_images(web: Web) -> None:
    headers = {"authorization": f"Bearer {await web.key()}"}
    async with web.client_from(headers=headers) as client:
        assert (await client.get("/v1/images")).status_code == 200
        for method, path, body in (
            ("POST", "/v1/images", {"name": "a:1"}), ("DELETE", "/v1/images/a:1", None),
            ("POST", "/v1/images/gc", None),
        ):  # fmt: skip
            assert (await client.request(method, path, json=body)).status_code == 403


@REAL
async def test_a_restart_changes_nothing(address: str, tmp_path: Path) -> None:
    name = f"{address}/team/app:1"
    settings = {
        "data_dir": tmp_path, "backends": ("namespace",), "pool_size": 1,
        "image_registries": (address,),
    }  # fmt: skip
    async with listening(settings) as (client, _):
        await client.post("/v1/images", json={"name": name})
        made = (await client.post("/v1/sandboxes", json={"image": name})).json()
        box = f"/v1/sandboxes/{made['id']}"
        await client.post(f"{box}/exec", json={"command": "echo kept >kept"})
    warm = {**settings, "warm_images": (name, "nothing:1")}
    async with listening(warm) as (client, services):
        assert (await client.get(box)).json()["image"] == made["image"]
        ran = await client.post(f"{box}/exec", json={"command": "cat kept /etc/new"})
        assert ran.json()["stdout"] == "kept\nnew\n"
        with anyio.fail_after(30):
            while services.pool.stats()["ready"] < 2:
                await anyio.sleep(0.02)  # waits on purpose: the pool fills beside us
        ran = await client.post("/v1/run", json={"command": "cat /etc/new", "image": name})
        assert ran.json()["stdout"] == "new\n"
        assert services.pool.stats()["warm_total"] == 1
