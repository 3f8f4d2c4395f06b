"""Archives in and out, and the logs."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tests.dialects.run_dat_sheesh.rig import Spoken, packed, speaking_sheesh, unpacked

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "python3")]
MIB = 1024 * 1024


def member(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def huge() -> bytes:
    """Little that unpacks to 51 MiB."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        info = tarfile.TarInfo("zeros")
        info.size = 51 * MIB
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    return out.getvalue()


@pytest.mark.parity("upload", "download")
async def test_there_and_back(spoken: Spoken, vm: str) -> None:
    files = {"hello.txt": b"hello\n", "d/e/deep": bytes(range(256)) * 500, "empty": b""}
    for dest in ("/workspace/project", "project"):
        answer = await spoken.upload(vm, packed(files), dest)
        assert (answer.status_code, answer.content) == (204, b"")
    assert await spoken.printed(vm, "cat project/hello.txt") == "hello\n"
    assert await spoken.printed(vm, "stat -c %u:%g project/d/e/deep") == "1000:1000\n"
    answer = await spoken.download(vm, "/workspace/project")
    assert answer.headers["content-type"] == "application/gzip"
    found = unpacked(answer.content)
    assert {name: data for name, data in found.items() if data or name == "./empty"} == {
        f"./{name}": data for name, data in files.items()
    }
    assert "." in found
    answer = await spoken.download(vm, "project/hello.txt")
    assert unpacked(answer.content) == {"hello.txt": b"hello\n"}


@pytest.mark.parity("upload")
async def test_it_merges(spoken: Spoken, vm: str) -> None:
    await spoken.upload(vm, packed({"a": b"1", "b": b"1"}), "merged")
    await spoken.upload(vm, packed({"b": b"2", "c": b"2"}), "merged")
    assert await spoken.printed(vm, "cd merged && cat a b c") == "122"


@pytest.mark.parity("upload.rules")
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (packed({"a": b"1"}, member("l", tarfile.SYMTYPE, "/etc/passwd")), "is a link"),
        (packed({"a": b"1"}, member("l", tarfile.SYMTYPE, "a")), "is a link"),
        (packed({"a": b"1"}, member("l", tarfile.LNKTYPE, "a")), "is a link"),
        (packed({"a": b"1"}, member("c", tarfile.CHRTYPE)), "neither a file nor a directory"),
        (packed({"a": b"1"}, member("p", tarfile.FIFOTYPE)), "neither a file nor a directory"),
        (packed({"a": b"1", "../x": b"2"}), "leaves the directory"),
        (packed({"a": b"1", "b/../../x": b"2"}), "leaves the directory"),
        (packed({"a": b"1", "/etc/x": b"2"}), "leaves the directory"),
        (packed({"a": b"1"})[:-20], "not a tar.gz archive"),
        (b"junk" * 300, "not a tar.gz archive"),
        (gzip.compress(b"junk" * 300), "not a tar.gz archive"),
        (packed({"a": b"1"} | {f"f{n}": b"" for n in range(10_000)}), "more than 10000 entries"),
        (huge(), "larger than 52428800 bytes"),
    ],
    ids=range(13),
)
async def test_refused_as_a_whole(spoken: Spoken, vm: str, data: bytes, why: str) -> None:
    answer = await spoken.upload(vm, data, "refused")
    assert answer.status_code == 400
    text = answer.json()["message"]
    assert text.startswith("Agent request failed (POST /files/upload) status=400: {")
    assert why in text
    assert await spoken.printed(vm, "test -e refused || echo nothing") == "nothing\n"


@pytest.mark.parity("upload.rules")
async def test_through_a_link_that_a_guest_has_made(spoken: Spoken, vm: str) -> None:
    await spoken.run(vm, "ln -sfn /home/user door; mkdir -p wall")
    answer = await spoken.upload(vm, packed({"door/x": b"1"}), "/workspace")
    assert answer.status_code == 400
    assert await spoken.printed(vm, "ls /home/user/x 2>/dev/null || echo none") == "none\n"
    answer = await spoken.upload(vm, packed({"wall/x": b"1"}), "/workspace")
    assert answer.status_code == 204


@pytest.mark.parity("upload.rules")
async def test_too_large(spoken: Spoken, vm: str) -> None:
    answer = await spoken.upload(vm, bytes(10 * MIB + 1))
    assert (answer.status_code, answer.json()) == (413, {"message": "Body too large"})


@pytest.mark.parity("upload.rules", "download.rules")
@pytest.mark.parametrize("path", ["/etc", "/home/user/project", "/workspace/../etc", "..", "/"])
async def test_places_that_are_not_the_workspace(spoken: Spoken, vm: str, path: str) -> None:
    answer = await spoken.upload(vm, packed({"a": b"1"}), path)
    assert (answer.status_code, "status=400" in answer.json()["message"]) == (400, True)
    answer = await spoken.download(vm, path)
    assert (answer.status_code, answer.json()) == (400, {"message": "Invalid download path"})


@pytest.mark.parity("download.rules")
async def test_what_is_not_there(spoken: Spoken, vm: str) -> None:
    for path in ("nothing", "/workspace/nothing", ""):
        assert (await spoken.download(vm, path)).status_code == 400
    await spoken.run(vm, "ln -sfn /etc out")
    found = unpacked((await spoken.download(vm, "/workspace")).content)
    assert found["./out"] == b""


@pytest.mark.parity("download.rules")
async def test_a_download_that_is_too_large(spoken: Spoken) -> None:
    own = await spoken.vm()
    await spoken.run(own, "mkdir large; head -c 51000000 /dev/urandom > large/a")
    assert (await spoken.download(own, "large")).status_code == 413
    await spoken.run(own, "truncate -s 49000000 large/a")
    assert len((await spoken.download(own, "large")).content) > 48_000_000
    await spoken.run(own, "head -c 51000000 /dev/zero > large/a")
    assert len((await spoken.download(own, "large")).content) < 1_000_000
    await spoken.ask("DELETE", f"/v1/vms/{own}", status=204)


@pytest.mark.parity("home-paths")
async def test_paths_of_the_older_document(tmp_path: Path) -> None:
    async with speaking_sheesh(tmp_path, legacy_home_paths=True) as spoken:
        vm = await spoken.vm()
        answer = await spoken.upload(vm, packed({"a": b"1"}), "/home/user/project")
        assert answer.status_code == 204
        answer = await spoken.download(vm, "/home/user/project")
        assert unpacked(answer.content)["./a"] == b"1"
        assert (await spoken.upload(vm, packed({"a": b"1"}), "/home/other")).status_code == 400


@pytest.mark.parity("exec-logs")
async def test_what_was_run(spoken: Spoken) -> None:
    own = await spoken.vm(secretEnv=["WORD=s3cret-word"])
    path = f"/v1/vms/{own}/exec-logs"
    assert await spoken.get(path) == {"entries": [], "hasMore": False}
    await spoken.run(own, "echo $WORD", env={"A": "b"})
    await spoken.run(own, "exit 2")
    found = await spoken.get(path)
    last, first = found["entries"]
    assert (first["type"], first["input"]) == ("exec", {"cmd": "echo $WORD", "env": {"A": "b"}})
    assert first["result"] == {"exitCode": 0, "stdout": "***\n", "stderr": ""}
    assert last["result"]["exitCode"] == 2
    assert last["durationMs"] >= 0
    assert found["hasMore"] is False
    found = await spoken.get(f"{path}?limit=1")
    assert (found["entries"], found["hasMore"]) == ([last], True)
    assert (await spoken.get(f"{path}?type=run-ts"))["entries"] == []
    assert len((await spoken.get(f"{path}?type=exec"))["entries"]) == 2
    await spoken.get(f"{path}?limit=201", 400)
    await spoken.get(f"{path}?type=x", 400)
    await spoken.ask("DELETE", f"/v1/vms/{own}", status=204)


@pytest.mark.parity("logs")
async def test_logs(spoken: Spoken) -> None:
    own = await spoken.vm()
    path = f"/v1/vms/{own}/logs"
    await spoken.run(own, "for n in 1 2 3; do echo line $n; done; echo wrong >&2")
    found = await spoken.get(f"{path}?type=firecracker.stdout.log&tail=2")
    assert (found["lines"], found["truncated"]) == (["line 2", "line 3"], True)
    assert found["type"] == "firecracker.stdout.log"
    found = await spoken.get(f"{path}?type=firecracker.stderr.log")
    assert (found["lines"], found["truncated"]) == (["wrong"], False)
    found = await spoken.get(path)
    assert found["type"] == "firecracker.log"
    assert any("sandbox.create" in line for line in found["lines"])
    assert await spoken.get(f"{path}?type=other", 400) == "Invalid log type"
    await spoken.get(f"{path}?tail=1001", 400)
    await spoken.ask("DELETE", f"/v1/vms/{own}", status=204)
