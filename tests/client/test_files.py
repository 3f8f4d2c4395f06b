import io
import os
import tarfile
from pathlib import Path

import httpx
import pytest

from atoll.client import Unreachable
from atoll.client.request import below
from tests.client.double import SANDBOX, Chunks, Double

pytestmark = pytest.mark.anyio

ENTRY = {"path": "a", "href": "/x", "kind": "file", "size": 3, "mode": 420, "etag": '"1-2-3"'}


def made(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json=SANDBOX)


@pytest.mark.parametrize(
    ("path", "end"),
    [
        ("notes.txt", "notes.txt"),
        ("/tmp/x", "/tmp/x"),
        ("a b/ä?#%", "a%20b/%C3%A4%3F%23%25"),
        ("bad\udcff", "bad%FF"),
        ("../up", "%2E%2E/up"),
    ],
)
def test_paths_as_ends_of_addresses(path: str, end: str) -> None:
    assert below(path) == end
    double = Double(made, httpx.Response(200, content=b"abc"))
    with double.client() as atoll:
        atoll.sandboxes.get("notes").files.read(path)
    assert double.asked[1].url.raw_path.decode() == f"/v1/sandboxes/sb_1/files/{end}"


async def test_write_sends_conditions_and_the_mode() -> None:
    double = Double(made, httpx.Response(200, json=ENTRY))
    async with double.async_client() as atoll:
        files = (await atoll.sandboxes.get("notes")).files
        await files.write("a", "abc", mode=0o755, if_match="")
        assert double.asked[-1].headers["if-none-match"] == "*"
        assert double.asked[-1].url.query == b"mode=755"
        await files.write("a", b"abc", if_match='"1-2-3"')
        assert double.asked[-1].headers["if-match"] == '"1-2-3"'


async def test_upload_streams_with_a_length_and_progress(tmp_path: Path) -> None:
    local = tmp_path / "big"
    local.write_bytes(b"x" * 600_000)
    double = Double(made, httpx.ReadError("broke"), httpx.Response(200, json=ENTRY))
    seen: list[int] = []
    async with double.async_client() as atoll:
        files = (await atoll.sandboxes.get("notes")).files
        await files.upload(local, "big", progress=seen.append)
    assert double.asked[-1].headers["content-length"] == "600000"
    assert "transfer-encoding" not in double.asked[-1].headers
    assert len(double.asked[-1].content) == 600_000
    # Sent twice, because the first connection broke; each time from the beginning.
    assert sum(seen) == 1_200_000


async def test_a_broken_download_leaves_nothing(tmp_path: Path) -> None:
    double = Double(made, httpx.Response(200, stream=Chunks(b"abc", broken=True)))
    local = tmp_path / "there"
    local.write_bytes(b"old")
    async with double.async_client() as atoll:
        files = (await atoll.sandboxes.get("notes")).files
        with pytest.raises(Unreachable):
            await files.download("big", local)
    assert local.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [local]


async def test_a_directory_goes_and_comes_back(tmp_path: Path) -> None:
    root = tmp_path / "from"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "run.sh").write_bytes(b"#!/bin/sh\n")
    (root / "sub" / "run.sh").chmod(0o755)
    (root / "empty").write_bytes(b"")
    (root / "big").write_bytes(os.urandom(700_001))
    (root / "link").symlink_to("sub/run.sh")
    (root / os.fsdecode(b"odd\xff")).write_bytes(b"odd")
    (root / ("n" * 200)).write_bytes(b"long name")
    os.mkfifo(root / "pipe")
    kept: list[bytes] = []

    def unpack(request: httpx.Request) -> httpx.Response:
        kept.append(request.content)
        return httpx.Response(200, json={"entries": 7})

    double = Double(made, unpack, lambda _: httpx.Response(200, stream=Chunks(kept[0])))
    back = tmp_path / "back"
    async with double.async_client() as atoll:
        files = (await atoll.sandboxes.get("notes")).files
        assert await files.upload_dir(root, "there") == 7
        done = await files.download_dir("there", back)
    assert double.asked[1].url.query == b"path=there"
    assert done.entries == 7
    assert done.left_out == ()
    assert (back / "sub" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (back / "link").readlink() == Path("sub/run.sh")
    assert (back / "big").read_bytes() == (root / "big").read_bytes()
    assert (back / os.fsdecode(b"odd\xff")).read_bytes() == b"odd"
    assert not (back / "pipe").exists()
    with tarfile.open(fileobj=io.BytesIO(kept[0])) as archive:
        assert {member.uid for member in archive} == {0}
