"""Paths: odd names, what cannot be one, directories, moving and removing."""

from pathlib import Path

import anyio
import pytest

from atoll.core.errors import AtollError, Conflict, InvalidRequest, NotFound
from atoll.core.model import FileKind
from atoll.core.ports import Sandbox
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import names, program, python, read, run

ODD_NAMES = (
    "two words",
    " leading and trailing ",
    "new\nline",
    "tab\there",
    "\x01\x7f",
    "ünïcödé",
    "u\u0308 is not \u00fc",
    "日本語",
    "🐚",
    "\udcff\udcfe",
    "-rf",
    ".hidden",
    "...",
    "..almost",
    "'\"`",
    "back\\slash",
    "$HOME",
    "*?[a]",
    "a:b;c|d&e",
    "%2e%2e%2f",
    "x" * 255,
    "é" * 127,
)
NO_PATHS = ("a\0b", "x" * 256, "é" * 128, "d/" * 3000 + "x", "\ud800")
DEEP, LISTED = 200, 50
DEEPER = """
import os
for _ in range(3000):
    os.mkdir("deep-directory-name")
    os.chdir("deep-directory-name")
open("bottom", "w").close()
"""


class NameCases(Cases):
    """What may be a name, and what may not."""

    @pytest.mark.parametrize("name", ODD_NAMES)
    async def test_odd_names(self, box: Sandbox, place: str, name: str) -> None:
        path = f"{place}/{name}"
        data = name.encode("utf-8", "surrogateescape")
        await box.files.write(path, data)
        assert await names(box.files, place) == [name]
        assert (await box.files.stat(path)).path == path
        assert await read(box.files, path) == data
        assert (await run(box, program("cat", path))).stdout == data
        await box.files.mkdir(f"{place}/d/{name}")
        await box.files.move(path, f"{place}/d/{name}/{name}")
        assert await names(box.files, f"{place}/d/{name}") == [name]
        await box.files.remove(f"{place}/d", recursive=True)
        assert await names(box.files, place) == []

    @pytest.mark.parametrize("path", NO_PATHS)
    async def test_what_is_no_path(self, box: Sandbox, path: str) -> None:
        files = box.files
        for attempt in (
            files.stat(path),
            files.write(path, b""),
            files.mkdir(path),
            files.move("/workspace", path),
            files.remove(path, recursive=True),
            read(files, path),
            names(files, path),
        ):
            with pytest.raises(InvalidRequest):
                await attempt

    async def test_relative_paths_begin_in_the_workspace(self, box: Sandbox, place: str) -> None:
        relative = place.removeprefix("/workspace/")
        stat = await box.files.write(f"{relative}/file", b"x")
        assert stat.path == f"{place}/file"
        assert await read(box.files, f"{place}/file") == b"x"
        assert (await box.files.stat(".")).kind is FileKind.DIRECTORY

    async def test_spellings_of_one_path(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/d/file", b"x")
        for spelling in ("/d//file", "/./d/file", "/d/../d/file", "//d/./file"):
            assert await read(box.files, place + spelling) == b"x"

    async def test_no_spelling_leads_out(self, box: Sandbox, place: str, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"of the host")
        for start in ("", "/", f"{place}/", "/proc/self/root/", "/proc/1/root/"):
            path = start + "../" * 20 + f"{tmp_path}/secret".lstrip("/")
            with pytest.raises((NotFound, InvalidRequest)):
                await read(box.files, path)
            with pytest.raises((NotFound, InvalidRequest)):
                await names(box.files, path.rpartition("/")[0])

    async def test_deep_directories(self, box: Sandbox, place: str) -> None:
        path = place + "/d" * DEEP
        await box.files.write(f"{path}/bottom", b"x")
        assert await read(box.files, f"{path}/bottom") == b"x"
        assert len(await names(box.files, place, depth=LISTED)) == LISTED
        await box.files.remove(f"{place}/d", recursive=True)
        assert await names(box.files, place) == []

    @needs("shell", "python")
    async def test_directories_too_deep_for_a_path(self, box: Sandbox, place: str) -> None:
        assert (await run(box, python(f"import os; os.chdir({place!r})\n" + DEEPER))).exit.code == 0
        with anyio.fail_after(10):
            assert await names(box.files, place) == ["deep-directory-name"]
            try:
                await box.files.remove(f"{place}/deep-directory-name", recursive=True)
            except AtollError:
                return
            assert await names(box.files, place) == []


class TreeCases(Cases):
    """Directories: making, listing, moving, removing."""

    async def test_mkdir(self, box: Sandbox, place: str) -> None:
        stat = await box.files.mkdir(f"{place}/d", mode=0o700)
        assert (stat.path, stat.kind, stat.mode) == (f"{place}/d", FileKind.DIRECTORY, 0o700)
        await box.files.mkdir(f"{place}/a/b/c")
        assert await names(box.files, place, depth=3) == ["a", "a/b", "a/b/c", "d"]

    async def test_mkdir_of_what_exists(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/d/file", b"x")
        await box.files.mkdir(f"{place}/d")
        assert await names(box.files, f"{place}/d") == ["file"]
        with pytest.raises(Conflict):
            await box.files.mkdir(f"{place}/d", parents=False)
        with pytest.raises(Conflict):
            await box.files.mkdir(f"{place}/d/file")

    async def test_mkdir_without_a_parent(self, box: Sandbox, place: str) -> None:
        with pytest.raises(NotFound):
            await box.files.mkdir(f"{place}/a/b", parents=False)
        assert await names(box.files, place) == []

    async def test_list_is_sorted_and_as_deep_as_asked(self, box: Sandbox, place: str) -> None:
        for name in ("b/2", "b/1", "a", "c/d/e", "B", "_"):
            await box.files.write(f"{place}/{name}", b"")
        assert await names(box.files, place) == ["B", "_", "a", "b", "c"]
        two = await names(box.files, place, depth=2)
        assert sorted(two) == ["B", "_", "a", "b", "b/1", "b/2", "c", "c/d"]
        assert two.index("b/1") < two.index("b/2")
        assert "c/d/e" in await names(box.files, place, depth=3)

    async def test_what_cannot_be_listed(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/file", b"")
        with pytest.raises(InvalidRequest):
            await names(box.files, f"{place}/file")
        with pytest.raises(NotFound):
            await names(box.files, f"{place}/missing")
        with pytest.raises(NotFound):
            await box.files.stat(f"{place}/missing")

    async def test_many_entries(self, box: Sandbox, place: str) -> None:
        for number in range(300):
            await box.files.write(f"{place}/{number:04}", b"")
        assert await names(box.files, place) == [f"{number:04}" for number in range(300)]

    async def test_move(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/old", b"x", mode=0o600)
        stat = await box.files.move(f"{place}/old", f"{place}/new")
        assert (stat.path, stat.mode, stat.size) == (f"{place}/new", 0o600, 1)
        assert await names(box.files, place) == ["new"]
        await box.files.write(f"{place}/d/inner", b"y")
        await box.files.move(f"{place}/d", f"{place}/e")
        assert await read(box.files, f"{place}/e/inner") == b"y"

    async def test_move_onto_something(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/one", b"1")
        await box.files.write(f"{place}/two", b"2")
        await box.files.write(f"{place}/d/inner", b"3")
        with pytest.raises(Conflict):
            await box.files.move(f"{place}/one", f"{place}/two")
        assert await read(box.files, f"{place}/two") == b"2"
        with pytest.raises((Conflict, InvalidRequest)):
            await box.files.move(f"{place}/one", f"{place}/d", overwrite=True)
        assert await read(box.files, f"{place}/d/inner") == b"3"
        await box.files.move(f"{place}/one", f"{place}/two", overwrite=True)
        assert await read(box.files, f"{place}/two") == b"1"
        assert await names(box.files, place) == ["d", "two"]

    async def test_what_cannot_be_moved(self, box: Sandbox, place: str) -> None:
        await box.files.mkdir(f"{place}/d/e")
        with pytest.raises(NotFound):
            await box.files.move(f"{place}/missing", f"{place}/x")
        with pytest.raises((InvalidRequest, Conflict)):
            await box.files.move(f"{place}/d", f"{place}/d/e/f")
        assert await names(box.files, place, depth=3) == ["d", "d/e"]

    async def test_remove(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/file", b"")
        await box.files.mkdir(f"{place}/empty")
        await box.files.write(f"{place}/full/a/b", b"")
        await box.files.remove(f"{place}/file")
        await box.files.remove(f"{place}/empty")
        with pytest.raises(Conflict):
            await box.files.remove(f"{place}/full")
        assert await names(box.files, place, depth=3) == ["full", "full/a", "full/a/b"]
        await box.files.remove(f"{place}/full", recursive=True)
        assert await names(box.files, place) == []
        with pytest.raises(NotFound):
            await box.files.remove(f"{place}/file")
        with pytest.raises(NotFound):
            await box.files.remove(f"{place}/file", recursive=True)

    async def test_the_root_cannot_be_removed(self, box: Sandbox, place: str) -> None:
        for path in ("/", "//", f"{place}/../../.."):
            with pytest.raises(AtollError):
                await box.files.remove(path, recursive=True)
        assert (await box.files.stat(place)).kind is FileKind.DIRECTORY
