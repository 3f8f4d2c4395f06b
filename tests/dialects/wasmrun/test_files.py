"""The files of a session."""

import base64

import pytest

from tests.dialects.wasmrun.rig import Session, Spoken

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]


@pytest.mark.parity("files.write", "files.read")
async def test_write_and_read(session: Session) -> None:
    assert (await session.write("/a/b/c.txt", "grüße")).json() == {"message": "Written: /a/b/c.txt"}
    read = await session.read("a/b/c.txt")
    assert read.json() == {"path": "a/b/c.txt", "content": "grüße"}
    for path in ("/a", "/", "/nothing", "/a/b/c.txt/d"):
        missing = await session.read(path)
        assert missing.status_code == 404, path
        assert missing.json()["error"].startswith(f"Not found: {path}: ")
    await session.write("raw", "/w==", encoding="base64")
    assert (await session.read("raw")).status_code == 404


@pytest.mark.parity("files.list")
async def test_list(session: Session) -> None:
    await session.write("d/x.txt", "12345")
    await session.write("d/e/y.txt", "")
    entries = (await session.read("/d", list="true")).json()["entries"]
    found = {each["name"]: (each["is_dir"], each["size"]) for each in entries}
    assert found["x.txt"] == (False, 5)
    assert found["e"][0] is True
    root = (await session.read("", list="true")).json()
    assert [each["name"] for each in root["entries"]] == ["d"]
    missing = await session.read("/nope", list="true")
    assert missing.status_code == 404
    assert missing.json()["error"] == "Not found: /nope: No such file or directory (os error 2)"


@pytest.mark.parity("files.delete")
async def test_delete(spoken: Spoken, session: Session) -> None:
    await session.write("d/e/f", "x")
    place = f"/sessions/{session.id}/files"
    without = await spoken.client.delete(place)
    assert without.json() == {"error": "Bad request: Missing path parameter", "code": 400}
    gone = await spoken.client.delete(place, params={"path": "d"})
    assert gone.json() == {"message": "Deleted: d"}
    assert (await spoken.client.delete(place, params={"path": "d"})).status_code == 404


@pytest.mark.parity("files.paths")
@pytest.mark.parametrize("path", ["../x", "a/../../x", "/..", "a/.."])
async def test_no_path_leads_up(spoken: Spoken, session: Session, path: str) -> None:
    error = {"error": "Bad request: Path traversal not allowed", "code": 400}
    assert (await session.write(path, "x")).json() == error
    assert (await session.read(path)).json() == error
    gone = await spoken.client.delete(f"/sessions/{session.id}/files", params={"path": path})
    assert gone.json() == error
    assert (await session.write("a..b/..c", "x")).status_code == 200


async def test_links_lead_nowhere_else(session: Session) -> None:
    """A program's link is followed inside its own sandbox only, so a host's file is not read."""
    make = (
        "require('fs').symlinkSync('/etc/shadow', '/link'); require('fs').symlinkSync('t','/good')"
    )
    await session.printed(make)
    await session.write("t", "mine")
    assert (await session.read("link")).status_code == 404
    assert (await session.read("good")).json()["content"] == "mine"


@pytest.mark.parity("files.size", "files.disk")
async def test_quotas(spoken: Spoken) -> None:
    session = await spoken.session(max_file_size_mb=2, max_disk_mb=3)
    two = "x" * (2 * 1024 * 1024)
    over = await session.write("a", two + "x")
    assert over.json()["error"].startswith("Bad request: File size limit exceeded: 2097153 bytes")
    assert (await session.write("a", two)).status_code == 200
    assert (await session.write("a", two)).status_code == 200, "a file may be replaced"
    full = await session.write("b", two)
    text = "Bad request: Disk usage limit exceeded: 4194304 bytes > 3145728 byte limit"
    assert full.json() == {"error": text, "code": 400}
    assert (await session.read("b")).status_code == 404
    project = await session.exec(400, files={"m.js": "1", "b": two}, entry="m.js")
    assert project["error"] == text.replace("4194304", "4194305")
    await spoken.client.delete(f"/sessions/{session.id}")


@pytest.mark.parity("beyond.base64")
async def test_bytes(session: Session) -> None:
    content = base64.b64encode(bytes(range(256))).decode()
    assert (await session.write("raw", content, encoding="base64")).status_code == 200
    read = await session.read("raw", encoding="base64")
    assert read.json() == {"path": "raw", "content": content, "encoding": "base64"}
    for wrong in ("AP", "A P8=", "grüße"):
        refused = await session.write("raw", wrong, encoding="base64")
        assert refused.json() == {"error": "Bad request: content is not valid base64", "code": 400}
    assert (await session.write("raw", "x", encoding="rot13")).status_code == 400
    assert (await session.read("raw", encoding="base64")).json()["content"] == content


@pytest.mark.needs("deno")
@pytest.mark.parity("options.limits")
async def test_what_the_engine_keeps_is_not_the_sessions(spoken: Spoken) -> None:
    session = await spoken.session(max_disk_mb=1)
    for _ in range(2):
        assert await session.printed("console.log(require('fs').readdirSync('/').length)") == "1\n"
    source = "require('fs').writeFileSync('/big', Buffer.alloc(48 * 2 ** 20)); console.log('all')"
    full = await session.exec(source=source)
    assert full["exit_code"] != 0, full
    assert (await session.write("a", "x")).json()["error"].startswith("Bad request: Disk usage")
    await spoken.client.delete(f"/sessions/{session.id}")
