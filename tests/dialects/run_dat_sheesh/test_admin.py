"""Overview, activity, events, webhooks, keys."""

import json
from typing import Any

import anyio
import pytest

from tests.dialects.run_dat_sheesh.rig import Spoken

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "python3")]
COOKIE_ONLY = ("/v1/admin/webhooks", "/v1/admin/api-keys", "/v1/admin/events")


@pytest.mark.parity("admin.overview")
async def test_overview(spoken: Spoken) -> None:
    before = await spoken.get("/v1/admin/overview")
    vm = await spoken.vm(cpu=2)
    found = await spoken.get("/v1/admin/overview")
    assert found["counts"]["activeVms"] == before["counts"]["activeVms"] + 1
    assert found["cpu"]["usedCores"] == before["cpu"]["usedCores"] + 2
    assert 0 <= found["cpu"]["usagePct"] <= 100
    for name in ("memory", "storage"):
        assert 0 < found[name]["usedBytes"] < found[name]["capacityBytes"]
    await spoken.ask("DELETE", f"/v1/vms/{vm}", status=204)


@pytest.mark.parity("admin.activity")
async def test_activity(spoken: Spoken) -> None:
    vm = await spoken.vm()
    await spoken.run(vm, "exit 3")
    await spoken.post(f"/v1/vms/{vm}/stop", None, 204)
    await spoken.post(f"/v1/vms/{vm}/start", None, 204)
    await spoken.post(f"/v1/vms/{vm}/snapshots", None, 201)
    await spoken.ask("DELETE", f"/v1/vms/{vm}", status=204)
    found = await spoken.get("/v1/admin/activity?limit=200")
    own = [each for each in reversed(found) if vm in json.dumps(each)]
    assert [each["type"] for each in own] == [
        "vm.created", "exec.command", "vm.stopped", "vm.started", "snapshot.created", "vm.deleted",
    ]  # fmt: skip
    assert (own[0]["entityType"], own[0]["entityId"]) == ("vm", vm)
    assert json.loads(own[1]["metaJson"]) == {"exitCode": 3}
    assert len(await spoken.get("/v1/admin/activity?limit=2")) == 2
    await spoken.get("/v1/admin/activity?limit=0", 400)


@pytest.mark.parity("admin.cookie-only")
@pytest.mark.parametrize("path", COOKIE_ONLY)
async def test_a_key_is_not_enough(spoken: Spoken, path: str) -> None:
    assert await spoken.get(path, 401) == "Unauthorized"


@pytest.mark.parity("admin.keys", "auth.db-key")
async def test_keys(spoken: Spoken) -> None:
    async with spoken.admin() as admin:
        answer = await admin.post("/v1/admin/api-keys", json={"name": "n"})
        assert answer.status_code == 201
        made: dict[str, Any] = answer.json()
        key = made.pop("apiKey")
        assert key.startswith(made["prefix"] + "_")
        assert len(made["prefix"]) == len("rds_") + 12
        async with spoken.of(**{"x-api-key": key}) as client:
            assert (await client.get("/v1/vms")).status_code == 200
        async with spoken.of(**{"x-api-key": key + "x"}) as client:
            assert (await client.get("/v1/vms")).status_code == 401
        listed = (await admin.get("/v1/admin/api-keys")).json()
        assert listed[0]["id"] == made["id"]
        assert listed[0]["lastUsedAt"] is not None
        assert "apiKey" not in listed[0]
        revoke = f"/v1/admin/api-keys/{made['id']}/revoke"
        for _ in range(2):
            answer = await admin.post(revoke)
            assert answer.json()["revokedAt"] is not None
        async with spoken.of(**{"x-api-key": key}) as client:
            assert (await client.get("/v1/vms")).status_code == 401
        assert (await admin.post("/v1/admin/api-keys/none/revoke")).status_code == 404
        for until in ("yesterday", "2001-01-01T00:00:00Z"):
            body = {"name": "n", "expiresAt": until}
            assert (await admin.post("/v1/admin/api-keys", json=body)).status_code == 400


@pytest.mark.parity("admin.webhooks")
async def test_webhooks_are_posted_to(spoken: Spoken) -> None:
    got: list[bytes] = []
    arrived = anyio.Event()

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            data = b""
            while b"source" not in data:
                data += await stream.receive()
            got.append(data)
            await stream.send(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")
            arrived.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with anyio.create_task_group() as group, spoken.admin() as admin:
        group.start_soon(listener.serve, serve)
        body = {"name": "w", "url": f"http://127.0.0.1:{port}/x", "eventTypes": ["vm.created"]}
        answer = await admin.post("/v1/admin/webhooks", json=body)
        assert answer.status_code == 201
        own = f"/v1/admin/webhooks/{answer.json()['id']}"
        vm = await spoken.vm()
        with anyio.fail_after(15):
            await arrived.wait()
        event = json.loads(got[0].partition(b"\r\n\r\n")[2])
        assert (event["type"], event["entityType"], event["entityId"]) == ("vm.created", "vm", vm)
        assert event["source"] == {"service": "run-dat-sheesh-manager"}
        assert event["meta"]["memMb"] == 256
        answer = await admin.patch(own, json={"enabled": False})
        assert answer.json()["enabled"] is False
        assert (await admin.get("/v1/admin/webhooks")).json()[-1]["name"] == "w"
        await spoken.ask("DELETE", f"/v1/vms/{vm}", status=204)
        wrong: list[dict[str, Any]] = [
            {"url": "ftp://x"},
            {"eventTypes": []},
            {"eventTypes": ["vm.none"]},
        ]
        for more in wrong:
            answer = await admin.post("/v1/admin/webhooks", json={**body, **more})
            assert answer.status_code == 400
        assert (await admin.delete(own)).status_code == 204
        assert (await admin.delete(own)).status_code == 404
        group.cancel_scope.cancel()
    await listener.aclose()
    assert len(got) == 1
