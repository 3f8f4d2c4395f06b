"""What a guest can plant: links, pipes, devices and sockets. None leads out, none hangs."""

import io
import tarfile
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from atoll.core.errors import AtollError, InvalidRequest, NotFound
from atoll.core.model import FileKind
from atoll.core.ports import Sandbox
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import joined, names, program, python, read, run, stream

WAYS_OUT = ("", "../" * 20 + ".", "/proc/self/root", "/proc/self/cwd/../../..", "/proc/1/root")
SOCKET = "import socket; socket.socket(socket.AF_UNIX).bind('%s')"
RACE = """
import os, time
end = time.monotonic() + 1.5
while time.monotonic() < end:
    os.symlink({target!r}, "flip.new"); os.replace("flip.new", "flip")
    os.unlink("flip"); os.mkdir("flip"); os.rmdir("flip")
"""


def _there(directory: Path) -> list[str]:
    return [each.name for each in directory.iterdir()]


def _archive(name: str, target: str) -> bytes:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.addfile(entry)
    return data.getvalue()


class LinkCases(Cases):
    """Symbolic links."""

    async def _link(self, box: Sandbox, target: str, path: str) -> str:
        """As the guest, where it may make such links; else out of an archive."""
        done = await run(box, program("ln", "-s", target, path))
        if done.exit.code != 0:
            parent, _, name = path.rpartition("/")
            try:
                await box.files.unpack(parent, stream(_archive(name, target)))
            except InvalidRequest:
                pytest.skip(f"Nobody can plant a link to {target!r} here.")
        assert (await box.files.stat(path)).kind is FileKind.SYMLINK, done.stderr
        return path

    async def test_a_link_is_told_not_followed(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/file", b"12345")
        link = await self._link(box, "file", f"{place}/link")
        stat = await box.files.stat(link)
        assert (stat.kind, stat.target) == (FileKind.SYMLINK, "file")
        listed = {each.path: each async for each in box.files.list(place)}
        assert listed[link].target == "file"
        assert await read(box.files, link) == b"12345"

    async def test_links_inside_are_followed(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/d/file", b"x")
        for target in ("d", f"{place}/d", "../" * 20 + f"{place}/d".lstrip("/")):
            link = await self._link(box, target, f"{place}/link")
            assert await read(box.files, f"{link}/file") == b"x"
            await box.files.write(f"{link}/more", b"y")
            assert await read(box.files, f"{place}/d/more") == b"y"
            await box.files.remove(link)

    async def test_writers_through_a_link_do_not_mix(self, box: Sandbox, place: str) -> None:
        contents = [bytes([letter]) * 1_000 for letter in b"ABCDEFGH"]
        await box.files.write(f"{place}/file", b"old")
        link = await self._link(box, "file", f"{place}/link")
        async with anyio.create_task_group() as tasks:
            for content in contents:
                tasks.start_soon(box.files.write, link, content)
        assert await read(box.files, f"{place}/file") in contents
        assert await names(box.files, place) == ["file", "link"]

    async def test_links_to_directories_are_not_listed_into(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/d/file", b"x")
        await self._link(box, ".", f"{place}/d/self")
        await self._link(box, "/", f"{place}/d/root")
        assert sorted(await names(box.files, place, depth=9)) == [
            "d",
            "d/file",
            "d/root",
            "d/self",
        ]

    @pytest.mark.parametrize("way", WAYS_OUT)
    async def test_links_lead_nowhere_outside(
        self, box: Sandbox, place: str, tmp_path: Path, way: str
    ) -> None:
        (tmp_path / "secret").write_bytes(b"of the host")
        link = await self._link(box, f"{way}{tmp_path}", f"{place}/link")
        with pytest.raises((NotFound, InvalidRequest)):
            await read(box.files, f"{link}/secret")
        with pytest.raises((NotFound, InvalidRequest)):
            await names(box.files, link)
        with suppress(AtollError):
            await box.files.write(f"{link}/planted", b"by the guest")
        assert _there(tmp_path) == ["secret"]

    async def test_a_link_to_a_file_of_the_host_is_not_written(
        self, box: Sandbox, place: str, tmp_path: Path
    ) -> None:
        secret = tmp_path / "secret"
        secret.write_bytes(b"of the host")
        link = await self._link(box, str(secret), f"{place}/link")
        with pytest.raises(NotFound):
            await read(box.files, link)
        with suppress(AtollError):
            await box.files.write(link, b"by the guest")
        await box.files.remove(link)
        assert secret.read_bytes() == b"of the host"

    async def test_loops_end(self, box: Sandbox, place: str) -> None:
        await self._link(box, "b", f"{place}/a")
        await self._link(box, "a", f"{place}/b")
        with anyio.fail_after(5):
            with pytest.raises((InvalidRequest, NotFound)):
                await read(box.files, f"{place}/a")
            with pytest.raises((InvalidRequest, NotFound)):
                await box.files.write(f"{place}/a/file", b"")
            assert (await box.files.stat(f"{place}/a")).kind is FileKind.SYMLINK
            assert await names(box.files, place, depth=5) == ["a", "b"]

    async def test_dangling_links(self, box: Sandbox, place: str) -> None:
        link = await self._link(box, "missing", f"{place}/link")
        with pytest.raises(NotFound):
            await read(box.files, link)
        assert (await box.files.stat(link)).target == "missing"
        assert await names(box.files, place) == ["link"]
        await box.files.remove(link)
        assert await names(box.files, place) == []

    async def test_removing_a_link_leaves_its_target(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/kept/file", b"x")
        await self._link(box, "kept", f"{place}/link")
        await box.files.mkdir(f"{place}/d")
        await self._link(box, "../kept", f"{place}/d/link")
        await box.files.remove(f"{place}/link", recursive=True)
        await box.files.remove(f"{place}/d", recursive=True)
        assert await names(box.files, place, depth=2) == ["kept", "kept/file"]

    async def test_moving_a_link_moves_the_link(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/kept", b"x")
        await self._link(box, "kept", f"{place}/link")
        stat = await box.files.move(f"{place}/link", f"{place}/moved")
        assert (stat.kind, stat.target) == (FileKind.SYMLINK, "kept")
        assert await names(box.files, place) == ["kept", "moved"]

    @needs("shell", "python")
    async def test_a_link_that_flips_does_not_lead_out(
        self, box: Sandbox, place: str, tmp_path: Path
    ) -> None:
        (tmp_path / "secret").write_bytes(b"of the host")
        code = f"import os; os.chdir({place!r})\n" + RACE.format(target=str(tmp_path))
        process = await box.start(python(code))
        over = False

        async def attack() -> None:
            nonlocal over
            await process.wait()
            over = True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(attack)
            while not over:
                with suppress(AtollError):
                    await box.files.write(f"{place}/flip/planted", b"x")
                with pytest.raises(AtollError):
                    await read(box.files, f"{place}/flip/secret")
        assert _there(tmp_path) == ["secret"]


class OddKindCases(Cases):
    """Pipes with names, devices, sockets."""

    async def _refused(self, box: Sandbox, path: str) -> None:
        with anyio.fail_after(5):
            assert (await box.files.stat(path)).kind is FileKind.OTHER
            with pytest.raises(InvalidRequest):
                await read(box.files, path)

    @needs("shell")
    async def test_a_pipe_with_a_name(self, box: Sandbox, place: str) -> None:
        await run(box, program("mkfifo", f"{place}/pipe"))
        await self._refused(box, f"{place}/pipe")
        with anyio.fail_after(5):
            assert await names(box.files, place) == ["pipe"]
            await joined(box.files.pack(place))
            with suppress(AtollError):
                await box.files.write(f"{place}/pipe", b"x")
            await box.files.remove(f"{place}/pipe")

    @needs("shell")
    @pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/urandom", "/dev/tty"])
    async def test_a_device(self, box: Sandbox, device: str) -> None:
        with anyio.fail_after(5), pytest.raises((InvalidRequest, NotFound)):
            await read(box.files, device)

    @needs("shell", "python")
    async def test_a_socket(self, box: Sandbox, place: str) -> None:
        assert (await run(box, python(SOCKET % f"{place}/socket"))).exit.code == 0
        await self._refused(box, f"{place}/socket")
        with anyio.fail_after(5):
            await joined(box.files.pack(place))
            await box.files.remove(f"{place}/socket")

    @needs("shell")
    async def test_files_without_an_end_are_bounded(self, box: Sandbox) -> None:
        with anyio.fail_after(5):
            for path in ("/proc/self/mem", "/proc/kmsg", "/proc/kcore"):
                try:
                    async for _ in box.files.read(path, length=4096):
                        pass
                except AtollError:
                    pass

    @needs("shell")
    async def test_a_stream_into_a_device_is_refused(self, box: Sandbox) -> None:
        with anyio.fail_after(5), pytest.raises(AtollError):
            await box.files.write("/dev/zero", stream(b"x" * 100))
