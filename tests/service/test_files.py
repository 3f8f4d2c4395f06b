from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from atoll.core.errors import Gone, NotFound, PreconditionFailed, Unsupported
from atoll.core.model import FileKind
from tests.service.island import ALICE, BOB, island, until

pytestmark = pytest.mark.anyio


async def stream(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_every_operation_starts_a_stopped_sandbox_and_is_noted(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("n")
        files = world.files
        await world.sandboxes.stop(ALICE, "n")
        written = await files.write(ALICE, "n", "d/f", stream(b"one", b"two"), if_match="")
        assert written.size == 6
        with pytest.raises(PreconditionFailed):
            await files.write(ALICE, "n", "d/f", b"x", if_match="")
        await world.sandboxes.stop(ALICE, "n")
        assert (await files.stat(ALICE, "n", "d")).kind is FileKind.DIRECTORY
        read = [d async for d in files.read(ALICE, made.id, "d/f", offset=2, length=3)]
        assert b"".join(read) == b"etw"
        await files.mkdir(ALICE, "n", "e")
        await files.move(ALICE, "n", "d/f", "e/g")
        assert [s.path async for s in files.list(ALICE, "n", "e")] == ["/workspace/e/g"]
        packed = b"".join([d async for d in files.pack(ALICE, "n", "e")])
        await files.remove(ALICE, "n", "e", recursive=True)
        with pytest.raises(NotFound):
            await files.stat(ALICE, "n", "e")
        assert await files.unpack(ALICE, "n", ".", stream(packed)) >= 1
        assert await world.actions() == [
            "sandbox.create",
            "sandbox.stopped",
            "sandbox.stop",
            "file.write",
            "file.write",
            "sandbox.stopped",
            "sandbox.stop",
            "file.read",
            "file.mkdir",
            "file.move",
            "file.pack",
            "file.remove",
            "file.unpack",
        ]
        outcomes = {e.outcome for e in await world.store.list_events() if e.action == "file.write"}
        assert outcomes == {"ok", "precondition_failed"}
        with pytest.raises(NotFound):
            await files.stat(BOB, made.id, "d")
        await world.sandboxes.destroy(ALICE, "n")
        with pytest.raises(Gone):
            await files.write(ALICE, made.id, "f", b"x")


async def test_watch(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        held = world.keeper.held(made.id)
        assert held is not None
        seen: list[str] = []

        async def watch() -> None:
            async with aclosing(world.files.watch(ALICE, made.id, ".")) as changes:
                async for change in changes:
                    seen.append(change.path)

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await until(lambda: "files.watch" in world.backend.faults.reached)
            await checkpoint()
            await world.files.write(ALICE, made.id, "new", b"")
            await until(lambda: bool(seen))
            assert held.idle, "a watch alone keeps nothing open"
            group.cancel_scope.cancel()
        assert "new" in seen[0]


async def test_a_sandbox_that_cannot_watch_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with island(tmp_path) as world:
        made = await world.create()
        monkeypatch.setattr("atoll.service.files.Watches", int)
        with pytest.raises(Unsupported):
            await anext(world.files.watch(ALICE, made.id, "."))
