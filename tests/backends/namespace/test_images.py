"""Sandboxes of images from the store: their root, what they may write, what they remember."""

import os
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.backends.namespace import NamespaceBackend, NamespaceConfig
from atoll.core.errors import NotFound, Unsupported
from atoll.core.images import Image, pinned
from atoll.core.model import Limits, SandboxSpec, TtySize
from atoll.images.store import ImageStore
from atoll.testing.backend.running import program, run, script
from tests.images.tars import ROOM, busybox, stored, tar

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "cmd:busybox")]
TOP = tar(
    ("etc/.wh.gone", b""), ("etc/new", b"new\n"), ("bin/python3", b"#!/bin/sh\necho own\n"),
    # What a mount or a write of ours could be led astray by.
    ("dev", "/etc"), ("proc", "/etc"), ("tmp", "/etc"), ("workspace", "/bin"), ("home", "/"),
    ("etc/passwd", None), ("etc/resolv.conf", "/proc/1/environ"), ("run", b"a file"),
)  # fmt: skip
BASE = tar(("etc/gone", b"gone\n"))
MIB = 1 << 20


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    store = ImageStore(Path(tmp_path_factory.mktemp("images")) / "images", ROOM)
    store.prepare()
    return store


@pytest.fixture(scope="module")
def image(store: ImageStore) -> Image:
    words = ("sh", "cat", "ls", "dd", "rm", "test")
    about = {"env": {"KIND": "tiny", "HOME": "/root"}}
    return stored(store, "tiny:1", [busybox(*words), BASE, TOP], about)


@pytest.fixture(scope="module")
async def backend(
    store: ImageStore, tmp_path_factory: pytest.TempPathFactory
) -> AsyncGenerator[NamespaceBackend, None]:
    place = Path(tmp_path_factory.mktemp("boxes"))
    async with NamespaceBackend(NamespaceConfig(place, images=store)) as backend:
        yield backend


@pytest.fixture(params=[False, True], ids=["fresh", "kept"])
def spec(request: pytest.FixtureRequest, image: Image) -> SandboxSpec:
    kept = bool(request.param)
    return SandboxSpec(
        id=f"img{kept}", image=pinned("tiny:1", image.digest), persistent=kept, env={"MINE": "1"}
    )


async def test_the_root_is_the_images_own(backend: NamespaceBackend, spec: SandboxSpec) -> None:
    async with backend.open(spec) as sandbox:
        ran = await run(sandbox, script("cat /etc/new; ls -d /usr /opt /srv /mnt; cat /etc/gone"))
        assert ran.stdout == b"new\n"
        ran = await run(
            sandbox, script('echo "$KIND $MINE $HOME"; ls -l /dev/null; cat /proc/1/stat')
        )
        assert ran.stdout.startswith(b"tiny 1 /home/user\ncrw-rw-rw-")
        assert (await run(sandbox, program("python3", "-c", "1"))).stdout == b"own\n"
    await backend.destroy(spec.id)


async def test_what_may_be_written(
    backend: NamespaceBackend, store: ImageStore, image: Image, spec: SandboxSpec
) -> None:
    places = "/workspace /home/user /tmp /var/tmp /run /dev/shm"
    refused = "/etc /bin /dev /proc"
    code = 'for d in $1; do echo x >$d/x && echo "yes $d"; done; for d in $2; do echo x >$d/x; done'
    async with backend.open(spec) as sandbox:
        ran = await run(sandbox, script(f"set -- '{places}' '{refused}'; {code}"))
        assert ran.stdout.decode().split() == [w for d in places.split() for w in ("yes", d)]
        # What a server that is not root has unpacked is its sandboxes' own, each in its layer.
        assert ran.stderr.count(b"can't create") == (4 if os.geteuid() == 0 else 1)
        await sandbox.files.write("/workspace/kept.txt", b"k")
    for layer in image.layers:
        assert not list((Path(store.layers) / layer).rglob("x"))
    if spec.persistent:
        async with backend.open(spec) as sandbox:
            assert (await run(sandbox, script("cat kept.txt /tmp/x"))).stdout == b"kx\n"
    await backend.destroy(spec.id)


async def test_a_root_that_is_read_only(backend: NamespaceBackend, spec: SandboxSpec) -> None:
    code = script("echo x >/workspace/x && echo x >/tmp/x && echo yes; echo x >/x; echo x >/etc/x")
    async with backend.open(replace(spec, id=f"ro{spec.id}", read_only_root=True)) as sandbox:
        ran = await run(sandbox, code)
        assert ran.stdout == b"yes\n"
        assert ran.stderr.count(b"Read-only file system") == 2
    await backend.destroy(f"ro{spec.id}")


async def test_a_terminal(backend: NamespaceBackend, spec: SandboxSpec) -> None:
    async with backend.open(spec) as sandbox:
        ran = await run(sandbox, replace(script("test -t 1 && ls /dev/pts"), tty=TtySize()))
        assert ran.stdout.split() == [b"0", b"ptmx"]
    await backend.destroy(spec.id)


async def test_the_disk_of_a_fresh_one_is_bounded(backend: NamespaceBackend, image: Image) -> None:
    spec = SandboxSpec(
        id="small", image=pinned("tiny:1", image.digest),
        limits=replace(Limits(), disk_bytes=4 * MIB),
    )  # fmt: skip
    fill = script("dd if=/dev/zero of=/tmp/a bs=64k count=2000; ls -s /tmp/a")
    async with backend.open(spec) as sandbox:
        ran = await run(sandbox, fill)
        assert int(ran.stdout.split()[0]) <= 4096


async def test_snapshots_and_forks_are_of_the_same_image(
    backend: NamespaceBackend, image: Image
) -> None:
    first = SandboxSpec(id="one", image=pinned("tiny:1", image.digest), persistent=True)
    async with backend.open(first) as sandbox:
        await run(sandbox, script("echo 1 >one; rm -f /workspace/none"))
    await backend.snapshot("one", "shot")
    async with backend.open(replace(first, id="two", base="shot")) as sandbox:
        assert (await run(sandbox, script("cat one /etc/new; echo 2 >one"))).stdout == b"1\nnew\n"
    async with backend.open(first) as sandbox:
        assert (await run(sandbox, script("cat one"))).stdout == b"1\n"
    for name in ("one", "two"):
        await backend.destroy(name)
    await backend.drop_snapshot("shot")


async def test_refusals(backend: NamespaceBackend, image: Image) -> None:
    known = pinned("tiny:1", image.digest)
    with pytest.raises(NotFound):
        async with backend.open(SandboxSpec(id="no", image="nothing:1")):
            pass
    with pytest.raises(Unsupported):
        async with backend.open(SandboxSpec(id="no", image=known, preload=("json",))):
            pass
    async with backend.open(SandboxSpec(id="no", image=known)) as sandbox:
        assert (await run(sandbox, script("echo fine"))).stdout == b"fine\n"
