"""VMs that call functions of other VMs."""

import json
from typing import Any

import pytest

from tests.dialects.run_dat_sheesh.rig import VM, Spoken, packed

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "deno", "node")]
SECRET = "s3cret-of-the-provider"
MODULE = """\
export async function add(a: number, b: number) {
  return { sum: a + b, known: Deno.env.get("TOKEN")?.length };
}
export function fail() { throw new Error("no way"); }
export const limit = 3;
"""


def export(name: str) -> dict[str, Any]:
    returns = {"description": "r", "schema": {"type": "object"}}
    return {"name": name, "description": "d", "params": [], "returns": returns, "examples": [{}]}


def manifest(*names: str, path: str = "lib/math.ts") -> bytes:
    module = {"path": path, "exports": [export(name) for name in names]}
    return json.dumps({"sdk": {"name": "m", "description": "d"}, "modules": [module]}).encode()


async def provider(spoken: Spoken, data: bytes) -> str:
    vm = await spoken.vm(secretEnv=[f"TOKEN={SECRET}"])
    files = {"lib/math.ts": MODULE.encode(), ".rds-peer/manifest.json": data}
    assert (await spoken.upload(vm, packed(files))).status_code == 204
    return vm


def link(vm: str, **more: str) -> dict[str, Any]:
    return {"alias": "sdk", "vmId": vm, **more}


@pytest.mark.parity("peers.create", "peers.call", "peers.files", "peers.sync")
async def test_calls(spoken: Spoken) -> None:
    other = await provider(spoken, manifest("add", "fail"))
    made = await spoken.post("/v1/vms", {**VM, "peerLinks": [link(other)]}, 201)
    assert made["peerLinks"] == [{"alias": "sdk", "vmId": other, "sourceMode": "hidden"}]
    vm = made["id"]
    add = 'import { add } from "./peers/sdk/proxy/lib/math.ts"; result.set(await add(2, 3))'
    for _ in range(2):
        assert (await spoken.ts(vm, add))["result"] == {"sum": 5, "known": len(SECRET)}
    found = await spoken.js(vm, add.replace("math.ts", "math.mjs"))
    assert found["result"] == {"sum": 5, "known": len(SECRET)}
    fail = 'import { fail } from "./peers/sdk/proxy/lib/math.ts"; await fail()'
    assert "no way" in (await spoken.ts(vm, fail))["error"]["message"]
    assert SECRET not in await spoken.printed(vm, f"grep -r {SECRET} /workspace || true; env")
    assert await spoken.printed(vm, "ls peers/sdk") == "README.md\nmanifest.json\nproxy\n"
    index = json.loads(await spoken.printed(vm, "cat peers/index.json"))
    assert index["peers"][0]["modules"][0]["exports"] == ["add", "fail"]
    own = f"/v1/vms/{vm}/peers"
    await spoken.ask("PATCH", f"{own}/sdk", {"sourceMode": "mounted"}, 204)
    assert await spoken.printed(vm, "cat peers/sdk/source/lib/math.ts") == MODULE
    await spoken.ask("PATCH", f"{own}/none", {"sourceMode": "mounted"}, 404)
    await spoken.ask("PATCH", f"{own}/sdk", {"sourceMode": "x"}, 400)
    await spoken.upload(other, packed({".rds-peer/manifest.json": manifest("add")}))
    await spoken.post(f"{own}/sync", None, 204)
    index = json.loads(await spoken.printed(vm, "cat peers/index.json"))
    assert index["peers"][0]["modules"][0]["exports"] == ["add"]
    await spoken.post(f"/v1/vms/{vm}/stop", None, 204)
    await spoken.post(f"/v1/vms/{vm}/start", None, 204)
    assert (await spoken.ts(vm, add))["result"]["sum"] == 5
    await spoken.post(f"/v1/vms/{other}/stop", None, 204)
    assert "not RUNNING" in (await spoken.ts(vm, add))["error"]["message"]
    for each in (vm, other):
        await spoken.ask("DELETE", f"/v1/vms/{each}", status=204)


@pytest.mark.parity("peers.errors")
async def test_providers_that_are_none(spoken: Spoken) -> None:
    bare = await spoken.vm()
    place = "/workspace/.rds-peer/manifest.json"
    text = await spoken.post("/v1/vms", {**VM, "peerLinks": [link(bare)]}, 400)
    assert text == f"Peer alias sdk: missing provider manifest at {place}"
    for data, why in (
        (b"{", "is not JSON"),
        (b"{}", "invalid provider manifest: manifest must have required property 'sdk'"),
        (manifest("add", path="../x.ts"), "must be relative to /workspace"),
        (manifest("limit"), "declared export limit is not callable in lib/math.ts"),
        (manifest("none"), "declared export none is not callable in lib/math.ts"),
        (manifest("add", path="lib/none.ts"), "cannot be loaded"),
    ):
        files = {"lib/math.ts": MODULE.encode(), ".rds-peer/manifest.json": data}
        await spoken.upload(bare, packed(files))
        text = await spoken.post("/v1/vms", {**VM, "peerLinks": [link(bare)]}, 400)
        assert text.startswith("Peer alias sdk: ")
        assert why in text
    await spoken.post(f"/v1/vms/{bare}/stop", None, 204)
    text = await spoken.post("/v1/vms", {**VM, "peerLinks": [link(bare)]}, 400)
    assert text == "Peer alias sdk: provider VM is not RUNNING"
    twice = {**VM, "peerLinks": [link(bare), link(bare)]}
    assert await spoken.post("/v1/vms", twice, 400) == "Peer alias sdk: declared twice"
    await spoken.ask("DELETE", f"/v1/vms/{bare}", status=204)


@pytest.mark.parity("peers.bridge")
async def test_the_bridge_asks_who_calls(spoken: Spoken) -> None:
    other = await provider(spoken, manifest("add"))
    vm = (await spoken.post("/v1/vms", {**VM, "peerLinks": [link(other)]}, 201))["id"]
    token = json.loads(await spoken.printed(vm, "cat .rds/bridge.json"))["token"]
    call = {"alias": "sdk", "modulePath": "lib/math.ts", "exportName": "add", "args": [1, 2]}
    path = "/internal/v1/peer/invoke"
    async with spoken.of(authorization=f"Bearer {token}") as client:
        answer = await client.post(path, json=call)
        assert answer.json() == {"result": {"sum": 3, "known": len(SECRET)}}
        assert (await client.get(path)).status_code == 405
        answer = await client.post(path, json={**call, "alias": "other"})
        assert answer.status_code == 403
        for more in ({"exportName": "fail"}, {"modulePath": "lib/other.ts"}):
            assert (await client.post(path, json={**call, **more})).status_code == 403
        assert (await client.post(path, json={**call, "timeoutMs": 120_001})).status_code == 400
        await spoken.post(f"/v1/vms/{other}/stop", None, 204)
        assert (await client.post(path, json=call)).status_code == 409
    for wrong in ("", "Bearer ", f"Bearer {token[:-1]}", f"Bearer {other}.x", "Bearer a.b"):
        async with spoken.of(authorization=wrong) as client:
            assert (await client.post(path, json=call)).status_code == 401
    for each in (vm, other):
        await spoken.ask("DELETE", f"/v1/vms/{each}", status=204)
