"""Images: rows, files, the default."""

import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import anyio
import pytest

from tests.dialects.run_dat_sheesh.rig import VM, Spoken, speaking_sheesh

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "cmd:busybox")]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small root file system."""
    root = tmp_path_factory.mktemp("root")
    for name in ("bin", "etc", "tmp", "proc", "dev", "workspace"):
        (root / name).mkdir()
    busybox = shutil.which("busybox")
    assert busybox is not None
    shutil.copy(busybox, root / "bin" / "busybox")
    for name in ("sh", "cat", "ls", "id", "env", "grep"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc" / "mine").write_text("mine\n")
    return root


@pytest.fixture(scope="module")
def ext4(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    place = tmp_path_factory.mktemp("ext4") / "rootfs.ext4"
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    subprocess.run(
        ["mke2fs", "-q", "-t", "ext4", "-d", str(tree), str(place), "16M"],
        check=True,
        capture_output=True,
        env={**os.environ, "PATH": path},
    )
    return place.read_bytes()


def tar(tree: Path, mode: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        archive.add(tree, ".")
    return out.getvalue()


async def put(spoken: Spoken, image: str, what: str, data: bytes, status: int = 204) -> str:
    answer = await spoken.client.put(f"/v1/images/{image}/{what}", content=data)
    assert answer.status_code == status, answer.text
    return str(answer.json()["message"]) if status != 204 else ""


async def row(spoken: Spoken, image: str) -> dict[str, object]:
    found = [each for each in await spoken.get("/v1/images") if each["id"] == image]
    return dict(found[0])


@pytest.mark.parity("images", "images.rootfs", "images.default", "images.delete")
async def test_the_life_of_an_image(tmp_path: Path, ext4: bytes) -> None:
    async with speaking_sheesh(tmp_path) as spoken:
        made = await spoken.post("/v1/images", {"name": "mine", "description": "d"}, 201)
        image = made["id"]
        assert image.startswith("img-")
        assert (await row(spoken, image))["hasRootfs"] is False
        body = {**VM, "imageId": image}
        assert await spoken.post("/v1/vms", body, 400) == "Image has no rootfs"
        await spoken.post(f"/v1/images/{image}/set-default", None, 400)
        await put(spoken, image, "kernel", b"\x7fELF-kernel")
        await put(spoken, image, "rootfs", ext4)
        found = await row(spoken, image)
        assert (found["hasKernel"], found["hasRootfs"], found["isDefault"]) == (True, True, False)
        assert int(str(found["baseRootfsBytes"])) > 100_000
        vm = (await spoken.post("/v1/vms", body, 201))["id"]
        assert await spoken.printed(vm, "cat /etc/mine; id -u; pwd") == "mine\n1000\n/workspace\n"
        assert (await spoken.get(f"/v1/vms/{vm}"))["imageId"] == image
        assert await spoken.ask("DELETE", f"/v1/images/{image}", status=409) == "Image is in use"
        with anyio.fail_after(15):
            while (await row(spoken, image))["seedStatus"] != "ready":
                await anyio.sleep(0.05)  # waits on purpose: it is made beside the requests
        await spoken.post(f"/v1/images/{image}/set-default", None, 204)
        assert (await row(spoken, image))["isDefault"] is True
        other = await spoken.post("/v1/vms", VM, 201)
        assert other["imageId"] == image
        snapshot = await spoken.post(f"/v1/vms/{vm}/snapshots", None, 201)
        assert snapshot["imageId"] == image
        wrong = {**VM, "snapshotId": snapshot["id"], "imageId": "img-x"}
        assert await spoken.post("/v1/vms", wrong, 400) == "Snapshot image mismatch"
        for each in (vm, other["id"]):
            await spoken.ask("DELETE", f"/v1/vms/{each}", status=204)
        assert await spoken.ask("DELETE", f"/v1/images/{image}", status=409)
        assert await spoken.post("/v1/images/none/set-default", None, 404)


@pytest.mark.parity("images.rootfs", "images.bundle", "images.delete")
async def test_other_forms(tmp_path: Path, tree: Path) -> None:
    async with speaking_sheesh(tmp_path) as spoken:
        image = (await spoken.post("/v1/images", {"name": "n"}, 201))["id"]
        for data in (tar(tree, "w"), tar(tree, "w:gz")):
            await put(spoken, image, "rootfs", data)
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as bundle:
            bundle.writestr("boot/vmlinux-5", b"kernel")
            bundle.writestr("rootfs.tar", tar(tree, "w"))
        await put(spoken, image, "bundle", out.getvalue())
        found = await row(spoken, image)
        assert (found["kernelFilename"], found["rootfsFilename"]) == ("vmlinux-5", "rootfs.tar")
        vm = await spoken.vm(imageId=image)
        assert await spoken.printed(vm, "cat /etc/mine") == "mine\n"
        await spoken.ask("DELETE", f"/v1/vms/{vm}", status=204)
        await spoken.ask("DELETE", f"/v1/images/{image}", status=204)
        assert await spoken.get("/v1/images") == []
        await spoken.ask("DELETE", f"/v1/images/{image}", status=404)


@pytest.mark.parity("images.rootfs", "images.bundle")
async def test_files_that_are_none(tmp_path: Path, ext4: bytes) -> None:
    async with speaking_sheesh(tmp_path) as spoken:
        image = (await spoken.post("/v1/images", {"name": "n"}, 201))["id"]
        broken = ext4[:1100] + bytes(len(ext4) - 1100)
        for data in (b"junk" * 1000, b"\x1f\x8bjunk", broken, b""):
            assert await put(spoken, image, "rootfs", data, 400)
        for data in (b"junk", b"PK\x05\x06" + bytes(18)):
            assert (await put(spoken, image, "bundle", data, 400)).startswith("Invalid bundle")
        assert (await row(spoken, image))["hasRootfs"] is False
        assert len(await spoken.get("/v1/vms")) == 0
        native = (await spoken.native.get("/v1/sandboxes")).json()["items"]
        assert native == []
        assert await spoken.post("/v1/images", {}, 400)
        assert await put(spoken, "none", "kernel", b"x", 404) == "Image not found"
