"""VMs and their snapshots."""

from pathlib import Path

import anyio
import pytest

from tests.dialects.run_dat_sheesh.rig import VM, Spoken, speaking_sheesh

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "python3")]


@pytest.mark.parity("vm.create", "vm.get", "vm.list", "vm.delete")
async def test_the_life_of_a_vm(spoken: Spoken) -> None:
    made = await spoken.post("/v1/vms", {"cpu": 2, "memMb": 256, "allowIps": ["10.0.0.1"]}, 201)
    assert made["state"] == "RUNNING"
    assert (made["cpu"], made["memMb"], made["provisionMode"]) == (2, 256, "boot")
    assert made["outboundInternet"] is False
    assert made["createdAt"].endswith("Z")
    own = f"/v1/vms/{made['id']}"
    assert await spoken.get(own) == made
    assert made in await spoken.get("/v1/vms")
    await spoken.ask("DELETE", own, status=204)
    assert await spoken.get(own, 404) == "VM not found"
    assert made["id"] not in [each["id"] for each in await spoken.get("/v1/vms")]
    await spoken.ask("DELETE", own, status=404)


@pytest.mark.parity("vm.create.errors")
@pytest.mark.parametrize(
    ("more", "status", "text"),
    [
        ({"cpu": 5}, 400, "Invalid cpu (maxCpu=4)"),
        ({"cpu": 0}, 400, "Invalid cpu (maxCpu=4)"),
        ({"cpu": 1.5}, 400, "Invalid cpu (maxCpu=4)"),
        ({"memMb": 4096}, 400, "Invalid memMb (maxMemMb=2048)"),
        ({"memMb": 1}, 400, "Invalid memMb (maxMemMb=2048)"),
        ({"allowIps": ["1.1.1.1"] * 65}, 400, "Too many allowIps (maxAllowIps=64)"),
        ({"allowIps": ["example.com"]}, 400, "Invalid allowIps entry"),
        ({"allowIps": ["1.1.1.1/33"]}, 400, "Invalid allowIps entry"),
        ({"diskSizeMb": 1}, 400, "diskSizeMb too small (min=64)"),
        ({"userOverlaySnapshotId": "snap-x"}, 404, "User overlay snapshot not found"),
        ({"snapshotId": "snap-00000000-0000-4000-8000-000000000000"}, 404,
         "User overlay snapshot not found"),
        ({"imageId": "img-x"}, 400, "Image not found"),
        ({"secretEnv": ["x"]}, 400, "Invalid secretEnv entry: expected KEY=value"),
        ({"peerLinks": [{"alias": "a", "vmId": "x"}]}, 400,
         "Peer alias a: provider VM not found"),
    ],
)  # fmt: skip
async def test_refused(spoken: Spoken, more: dict[str, object], status: int, text: str) -> None:
    before = len(await spoken.get("/v1/vms"))
    assert await spoken.post("/v1/vms", {**VM, **more}, status) == text
    assert len(await spoken.get("/v1/vms")) == before


@pytest.mark.parity("vm.secret-key")
async def test_secrets_need_a_key(tmp_path: Path) -> None:
    async with speaking_sheesh(tmp_path, vm_secret_key=None) as spoken:
        answer = await spoken.client.post("/v1/vms", json={**VM, "secretEnv": ["A=b"]})
        text = "VM_SECRET_KEY is required for peer secret env support"
        assert (answer.status_code, answer.json()) == (500, {"message": text})
        await spoken.vm()


@pytest.mark.parity("vm.quota")
async def test_no_more_than_the_quota(tmp_path: Path) -> None:
    async with speaking_sheesh(tmp_path, max_vms=3) as spoken:
        answers: list[int] = []

        async def create() -> None:
            answers.append((await spoken.client.post("/v1/vms", json=VM)).status_code)

        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(create)
        assert sorted(answers) == [201] * 3 + [429] * 3
        text = await spoken.post("/v1/vms", VM, 429)
        assert text == "VM quota exceeded (maxVms=3)"
        first = (await spoken.get("/v1/vms"))[0]["id"]
        await spoken.ask("DELETE", f"/v1/vms/{first}", status=204)
        await spoken.vm()


@pytest.mark.parity("vm.start-stop")
async def test_stop_and_start(spoken: Spoken) -> None:
    vm = await spoken.vm()
    own = f"/v1/vms/{vm}"
    await spoken.run(vm, "echo kept > file")
    text = await spoken.post(f"{own}/start", status=409)
    assert text == "VM must be STOPPED to start (state=RUNNING)"
    await spoken.post(f"{own}/stop", status=204)
    assert (await spoken.get(own))["state"] == "STOPPED"
    text = await spoken.post(f"{own}/stop", status=409)
    assert text == "VM must be RUNNING to stop (state=STOPPED)"
    assert "STOPPED" in await spoken.post(f"{own}/exec", {"cmd": "true"}, 409)
    assert "STOPPED" in await spoken.post(f"{own}/snapshots", None, 409)
    assert (await spoken.download(vm, "file")).status_code == 409
    await spoken.post(f"{own}/start", status=204)
    assert (await spoken.get(own))["state"] == "RUNNING"
    assert await spoken.printed(vm, "cat file") == "kept\n"
    await spoken.ask("DELETE", own, status=204)


@pytest.mark.parity("vm.restart")
async def test_what_a_server_that_ends_leaves(tmp_path: Path) -> None:
    async with speaking_sheesh(tmp_path) as spoken:
        running, stopped = await spoken.vm(secretEnv=["WORD=s3cret-word"]), await spoken.vm()
        await spoken.run(running, "echo kept > file")
        await spoken.post(f"/v1/vms/{stopped}/stop", status=204)
    async with speaking_sheesh(tmp_path) as spoken:
        states = {each["id"]: each["state"] for each in await spoken.get("/v1/vms")}
        assert states == {running: "RUNNING", stopped: "STOPPED"}
        assert await spoken.printed(running, "cat file; echo $WORD") == "kept\ns3cret-word\n"
    async with speaking_sheesh(tmp_path, vm_secret_key="another") as spoken:
        answer = await spoken.client.post(f"/v1/vms/{running}/exec", json={"cmd": "true"})
        assert answer.status_code == 500
    assert b"s3cret-word" not in (tmp_path / "atoll.db").read_bytes()


@pytest.mark.parity("snapshots", "snapshots.restore")
async def test_snapshots(spoken: Spoken) -> None:
    vm = await spoken.vm()
    await spoken.run(vm, "echo old > file")
    taken = await spoken.post(f"/v1/vms/{vm}/snapshots", None, 201)
    assert taken["id"].startswith("snap-")
    assert (taken["kind"], taken["sourceVmId"], taken["cpu"]) == ("user_overlay", vm, 1)
    assert (taken["hasDisk"], taken["hasOverlay"]) == (False, True)
    assert (await spoken.get(f"/v1/vms/{vm}"))["state"] == "RUNNING"
    await spoken.run(vm, "echo new > file")
    assert taken in await spoken.get("/v1/snapshots")
    twins: list[str] = []

    async def restore(field: str) -> None:
        made = await spoken.post("/v1/vms", {**VM, field: taken["id"]}, 201)
        assert made["provisionMode"] == "snapshot"
        twins.append(made["id"])

    async with anyio.create_task_group() as group:
        group.start_soon(restore, "userOverlaySnapshotId")
        group.start_soon(restore, "snapshotId")
    assert await spoken.printed(twins[0], "cat file; echo mine > other") == "old\n"
    assert await spoken.printed(twins[1], "cat file; ls") == "old\nfile\n"
    for each in (vm, *twins):
        await spoken.ask("DELETE", f"/v1/vms/{each}", status=204)


@pytest.mark.parity("snapshots.seed")
async def test_a_seed_appears(spoken: Spoken) -> None:
    vm = await spoken.vm()
    with anyio.fail_after(15):
        while not (seeds := await spoken.get("/v1/snapshots?scope=internal")):
            await anyio.sleep(0.05)  # waits on purpose: it is made beside the requests
    assert [each["kind"] for each in seeds] == ["image_seed"]
    assert seeds[0] not in await spoken.get("/v1/snapshots")
    assert seeds[0] in await spoken.get("/v1/snapshots?scope=all")
    text = await spoken.post("/v1/vms", {**VM, "snapshotId": seeds[0]["id"]}, 400)
    assert text == "Snapshot is not a user overlay snapshot"
    await spoken.get("/v1/snapshots?scope=x", 400)
    await spoken.ask("DELETE", f"/v1/vms/{vm}", status=204)
