import base64
import gzip
import io
import tarfile
from collections.abc import AsyncIterator

import pytest

from tests.http.rig import Web, served

pytestmark = pytest.mark.anyio
BOX = "/v1/sandboxes/box"
FILES = f"{BOX}/files"


@pytest.fixture
async def box(web: Web) -> Web:
    """A server with a sandbox."""
    assert (await web.client.post("/v1/sandboxes", json={"name": "box"})).status_code == 201
    return web


async def test_put_get_head_delete(box: Web) -> None:
    put = await box.client.put(f"{FILES}/a/b.txt?mode=755", content=b"hello")
    assert put.status_code == 200, put.text
    assert (put.json()["path"], put.json()["size"], put.json()["mode"] & 0o777) == (
        "/workspace/a/b.txt", 5, 0o755,
    )  # fmt: skip
    got = await box.client.get(f"{FILES}/a/b.txt")
    assert (got.content, got.headers["etag"]) == (b"hello", put.headers["etag"])
    assert got.headers["content-type"] == "application/octet-stream"
    assert "sandbox" in got.headers["content-security-policy"]
    assert got.headers["x-content-type-options"] == "nosniff"
    head = await box.client.head(f"{FILES}/a/b.txt")
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "5", b"")
    assert (await box.client.delete(f"{FILES}/a/b.txt")).status_code == 204
    assert (await box.client.get(f"{FILES}/a/b.txt")).status_code == 404
    assert (await box.client.delete(f"{FILES}/a/b.txt")).status_code == 404


async def test_absolute_paths_keep_their_slash(box: Web) -> None:
    await box.client.put(f"{FILES}//tmp/x", content=b"1")
    assert (await box.client.get(f"{FILES}//tmp/x?stat=true")).json()["path"] == "/tmp/x"
    assert (await box.client.get(f"{FILES}/tmp/x")).status_code == 404


async def test_streamed_upload(box: Web) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(300):
            yield bytes([number % 256]) * 1000

    assert (await box.client.put(f"{FILES}/big", content=chunks())).json()["size"] == 300_000
    got = await box.client.get(f"{FILES}/big")
    assert len(got.content) == 300_000
    assert got.content[-1] == 299 % 256


async def test_odd_names(box: Web) -> None:
    for name in ("%FF", "a%2Fb", "%E2%82%AC", "a%20b%3Fc%23d", "%2e%2e%2e"):
        put = await box.client.put(f"{FILES}/{name}", content=b"1")
        assert put.status_code == 200, name
        assert (await box.client.get(f"{FILES}/{name}")).content == b"1"
        assert (await box.client.get(put.json()["href"])).content == b"1"
    assert (await box.client.put(f"{FILES}/%00", content=b"1")).status_code == 422
    listed = (await box.client.get(f"{FILES}/?list=true")).json()["items"]
    assert "/workspace/\ufffd" in [each["path"] for each in listed]


async def test_ranges(box: Web) -> None:
    put = await box.client.put(f"{FILES}/r", content=b"0123456789")

    async def part(header: str, **more: str) -> tuple[int, bytes, str | None]:
        got = await box.client.get(f"{FILES}/r", headers={"Range": header, **more})
        return got.status_code, got.content, got.headers.get("content-range")

    assert await part("bytes=2-4") == (206, b"234", "bytes 2-4/10")
    assert await part("bytes=7-") == (206, b"789", "bytes 7-9/10")
    assert await part("bytes=-3") == (206, b"789", "bytes 7-9/10")
    assert await part("bytes=5-99") == (206, b"56789", "bytes 5-9/10")
    for whole in ("bytes=4-2", "bytes=-", "lines=1-2", "bytes=1-2,4-5"):
        assert await part(whole) == (200, b"0123456789", None)
    assert (await part("bytes=10-"))[0::2] == (416, "bytes */10")
    assert (await part("bytes=-0"))[0] == 416
    assert (await part("bytes=2-4", **{"If-Range": '"old"'}))[0] == 200
    assert (await part("bytes=2-4", **{"If-Range": put.headers["etag"]}))[0] == 206


async def test_conditions(box: Web) -> None:
    new = {"If-None-Match": "*"}
    first = await box.client.put(f"{FILES}/c", content=b"1", headers=new)
    assert first.status_code == 200
    assert (await box.client.put(f"{FILES}/c", content=b"2", headers=new)).status_code == 412
    etag = first.headers["etag"]
    same = await box.client.get(f"{FILES}/c", headers={"If-None-Match": etag})
    assert (same.status_code, same.content) == (304, b"")
    second = await box.client.put(f"{FILES}/c", content=b"22", headers={"If-Match": etag})
    assert second.status_code == 200
    late = await box.client.put(f"{FILES}/c", content=b"333", headers={"If-Match": etag})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    assert (await box.client.get(f"{FILES}/c", headers={"If-None-Match": etag})).content == b"22"
    for odd in ({"If-None-Match": '"x"'}, {"If-Match": '"a", "b"'}):
        assert (await box.client.put(f"{FILES}/c", content=b"", headers=odd)).status_code == 422


async def test_in_json(box: Web) -> None:
    media = {"content-type": "application/vnd.atoll.file+json"}
    body = {"content": base64.b64encode(b"\0\xff").decode(), "encoding": "base64"}
    put = await box.client.put(f"{FILES}/j", json=body, headers=media)
    assert put.json()["size"] == 2
    got = await box.client.get(f"{FILES}/j", headers={"accept": "application/json"})
    assert (got.json()["content"], got.json()["encoding"]) == (body["content"], "base64")
    await box.client.put(f"{FILES}/t", content="é".encode())
    got = await box.client.get(f"{FILES}/t", headers={"accept": "application/json"})
    assert (got.json()["content"], got.json()["encoding"]) == ("é", "utf-8")
    bad = await box.client.put(
        f"{FILES}/j", json={"content": "?", "encoding": "base64"}, headers=media
    )
    assert bad.status_code == 422


async def test_listing_directories_and_moves(box: Web) -> None:
    made = await box.client.post(f"{FILES}/d/e", json={"op": "mkdir"})
    assert (made.status_code, made.json()["kind"]) == (200, "directory")
    await box.client.put(f"{FILES}/d/f", content=b"1")
    shallow = (await box.client.get(f"{FILES}/d?list=true")).json()
    assert [each["path"] for each in shallow["items"]] == ["/workspace/d/e", "/workspace/d/f"]
    assert shallow["truncated"] is False
    deep = (await box.client.get(f"{FILES}/?list=true&depth=2")).json()["items"]
    assert len(deep) == 3
    moved = await box.client.post(f"{FILES}/d/f", json={"op": "move", "to": "g"})
    assert moved.json()["path"] == "/workspace/g"
    assert (await box.client.get(f"{FILES}/d")).status_code == 422
    assert (await box.client.delete(f"{FILES}/d")).status_code == 409
    assert (await box.client.delete(f"{FILES}/d?recursive=true")).status_code == 204
    for wrong in ({"op": "odd"}, {"op": "move"}, {"op": "mkdir", "to": "x"}, {}):
        assert (await box.client.post(f"{FILES}/h", json=wrong)).status_code == 422


async def test_listing_is_bounded() -> None:
    async with served(max_listing=2) as web:
        await web.client.post("/v1/sandboxes", json={"name": "box"})
        for name in "abc":
            await web.client.put(f"{FILES}/{name}", content=b"")
        body = (await web.client.get(f"{FILES}/?list=true")).json()
    assert (len(body["items"]), body["truncated"]) == (2, True)


async def test_links_are_followed_inside(box: Web) -> None:
    await box.client.put(f"{FILES}/real", content=b"1")
    await box.client.post(f"{BOX}/exec", json={"command": "ln -s real link; ln -s loop loop"})
    assert (await box.client.get(f"{FILES}/link")).content == b"1"
    assert (await box.client.get(f"{FILES}/link?stat=true")).json()["target"] == "real"
    assert (await box.client.get(f"{FILES}/loop")).status_code == 404


async def test_archive(box: Web) -> None:
    await box.client.put(f"{FILES}/d/x", content=b"1" * 500_000)
    plain = await box.client.get(f"{BOX}/archive?path=d")
    assert plain.headers["content-type"] == "application/x-tar"
    squeezed = await box.client.get(f"{BOX}/archive?path=d&format=tar.gz")
    assert squeezed.headers["content-type"] == "application/gzip"
    assert gzip.decompress(squeezed.content) == plain.content
    with tarfile.open(fileobj=io.BytesIO(plain.content)) as tar:
        assert any(name.endswith("x") for name in tar.getnames())
    for target, content in (("e", plain.content), ("f", squeezed.content)):
        put = await box.client.put(f"{BOX}/archive?path={target}", content=content)
        assert put.status_code == 200, put.text
        assert put.json()["entries"] >= 1
        assert len((await box.client.get(f"{FILES}/{target}/x")).content) == 500_000
    assert (await box.client.put(f"{BOX}/archive", content=b"junk" * 999)).status_code == 422
    assert (await box.client.get(f"{BOX}/archive?path=nothing")).status_code == 404
    assert (await box.client.get(f"{BOX}/archive?format=zip")).status_code == 422
