"""Archives that a client unpacks for somebody else: devices, links, `..`, and bombs."""

import io
import tarfile
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import anyio
import pytest

from atoll.backends.namespace import NamespaceBackend
from atoll.core.errors import AtollError, BackendFault, InvalidRequest
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import names, program, read, run, stream
from tests.security.test_resources import small

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> bytes:
    """One member as it stands in an archive; a regular file holds `data`."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.devmajor, info.devminor = kind, target, mode, 1, 3
    info.size = 4 if kind == tarfile.REGTYPE else 0
    body = b"data".ljust(512, b"\0") if info.size else b""
    return info.tobuf(tarfile.PAX_FORMAT) + body


LINK, HARD, DIRECTORY = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE
TRICKS: dict[str, list[bytes]] = {
    "character device": [entry("null", tarfile.CHRTYPE)],
    "block device": [entry("disk", tarfile.BLKTYPE)],
    "pipe": [entry("pipe", tarfile.FIFOTYPE)],
    "absolute": [entry("/tmp/evil")],
    "dots": [entry("../evil")],
    "hidden dots": [entry("a/b/../../../evil")],
    "absolute link": [entry("link", LINK, "/etc/passwd")],
    "link upwards": [entry("link", LINK, "../../etc")],
    "write through a link": [entry("link", LINK, "/tmp"), entry("link/evil")],
    "write through a link inside": [
        entry("real", DIRECTORY, mode=0o755), entry("link", LINK, "real"), entry("link/evil"),
    ],
    "hard link outside": [entry("hard", HARD, "/etc/passwd")],
    "hard link upwards": [entry("hard", HARD, "../../etc/passwd")],
    "hard link through a link": [entry("link", LINK, "."), entry("hard", HARD, "link/x")],
    "a name too long": [entry("n" * 300)],
}  # fmt: skip
END = bytes(1024)


@pytest.mark.parametrize("trick", TRICKS)
async def test_the_trick_is_refused(box: Sandbox, trick: str) -> None:
    data = b"".join([*TRICKS[trick], END])
    with pytest.raises(InvalidRequest):
        await box.files.unpack("into", stream(data))
    for place in ("/tmp", "/workspace", "/"):
        assert not [name for name in await names(box.files, place) if name.endswith("evil")]
    plain = b"".join([entry("good"), entry("d/link", LINK, "../good"), END])
    await box.files.unpack("into2", stream(plain))
    assert await read(box.files, "into2/d/link") == b"data"


async def test_a_link_that_is_planted_while_unpacking_leads_nowhere_outside(
    box: Sandbox, tmp_path: Path
) -> None:
    """The guest changes a directory into a link to the host's, again and again."""
    text = f"""
import os
os.makedirs("/workspace/into", exist_ok=True)
print("on", flush=True)
while True:
    try:
        os.rename("/workspace/into/d", "/workspace/into/e")
    except OSError:
        pass
    try:
        os.symlink({str(tmp_path)!r}, "/workspace/into/d")
        os.unlink("/workspace/into/d")
    except OSError:
        pass
"""
    process = await box.start(program("python3", "-c", text, wall_s=15))
    data = b"".join([*(entry(f"d/file{n}") for n in range(50)), END])
    for _ in range(15):
        try:
            with anyio.fail_after(5):
                await box.files.unpack("into", stream(data))
        except AtollError as error:
            if isinstance(error, BackendFault):
                raise
    await process.signal(9)
    await process.wait()
    assert list(tmp_path.iterdir()) == []


async def test_set_user_id_bits_are_not_unpacked(box: Sandbox) -> None:
    await box.files.unpack("into", stream(entry("suid", mode=0o6755) + END))
    assert (await box.files.stat("into/suid")).mode == 0o755
    assert (await run(box, program("test", "-x", "into/suid"))).exit.code == 0


def _gzip_bomb() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        info = tarfile.TarInfo("zeros")
        info.size = 64 << 20
        archive.addfile(info, io.BytesIO(bytes(info.size)))
    return held.getvalue()


def _many_files() -> bytes:
    return b"".join([*(entry(f"f{n}") for n in range(1000)), END])


def _endless_name() -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20)


@pytest.mark.parametrize("bomb", [_gzip_bomb, _many_files, _endless_name])
async def test_a_bomb_ends_at_the_limit(
    backend: NamespaceBackend, bomb: Callable[[], bytes]
) -> None:
    data = await anyio.to_thread.run_sync(bomb)

    async def pieces() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]

    async with backend.open(small()) as box:
        with pytest.raises(AtollError), anyio.fail_after(10):
            await box.files.unpack("into", pieces())
        await box.files.remove("into", recursive=True)
        await box.files.unpack("again", stream(entry("good") + END))
        assert await read(box.files, "again/good") == b"data"
