"""Sandboxes beside each other: nothing of one is seen in another, and nothing leaks here."""

import os
import threading
from pathlib import Path

import anyio
import pytest

from atoll.core.errors import NotFound
from atoll.core.ports import Backend, Sandbox
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import eventually, fresh, names, program, read, run, script

PLACES = ("/workspace", "/tmp")
SEE_ALL = "for f in /proc/[0-9]*/cmdline; do cat $f; echo; done"


class ApartCases(Cases):
    """Two sandboxes and many."""

    async def test_files_are_apart(self, backend: Backend) -> None:
        async with backend.open(fresh()) as left, backend.open(fresh()) as right:
            for place in PLACES:
                await run(left, script(f"echo left > {place}/secret"))
                assert await names(left.files, place) == ["secret"]
                with pytest.raises(NotFound):
                    await right.files.stat(f"{place}/secret")
                await right.files.write(f"{place}/secret", b"right\n")
                assert await read(left.files, f"{place}/secret") == b"left\n"

    @needs("shell")
    async def test_processes_are_apart(self, backend: Backend) -> None:
        async with backend.open(fresh()) as left, backend.open(fresh()) as right:
            process = await left.start(program("sleep", "19.75"))
            await anyio.sleep(0.1)
            assert b"19.75" in (await run(left, script(SEE_ALL))).stdout
            assert b"19.75" not in (await run(right, script(SEE_ALL))).stdout
            await run(right, script("kill -9 -1"))
            with anyio.move_on_after(0.2) as scope:
                await process.wait()
            assert scope.cancelled_caught

    @needs("shell")
    async def test_the_host_name_is_the_sandboxs(self, backend: Backend) -> None:
        async with backend.open(fresh(hostname="reef")) as box:
            assert (await run(box, program("uname", "-n"))).stdout == b"reef\n"

    @needs("shell")
    async def test_the_server_is_not_seen(self, box: Sandbox, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("of the server")
        seen = await run(box, program("cat", f"{tmp_path}/secret"))
        assert (seen.stdout, seen.exit.code) == (b"", 1)
        all_programs = await run(box, script(SEE_ALL))
        assert b"/proc/[0-9]*" in all_programs.stdout
        assert b"pytest" not in all_programs.stdout

    async def test_many_sandboxes_at_once(self, backend: Backend) -> None:
        seen: dict[int, bytes] = {}

        async def one(number: int) -> None:
            async with backend.open(fresh()) as box:
                await box.files.write("number", b"%d" % number)
                await anyio.sleep(0.05)
                seen[number] = (await run(box, program("cat", "number"))).stdout

        before = set(await backend.owned())
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(one, number)
        assert seen == {number: b"%d" % number for number in range(20)}
        assert set(await backend.owned()) == before

    @pytest.mark.slow
    async def test_nothing_leaks(self, backend: Backend) -> None:
        async def cycles(count: int) -> None:
            for _ in range(count):
                async with backend.open(fresh()) as box:
                    await box.files.write("note", b"x")
                    await run(box, script("sleep 20 & cat note"))
                    await box.start(program("sleep", "20"))

        await cycles(3)
        await anyio.sleep(0.2)
        before = await anyio.to_thread.run_sync(_held)
        await cycles(20)

        async def back() -> bool:
            now = await anyio.to_thread.run_sync(_held)
            return all(now[name] <= before[name] for name in before)

        assert await eventually(back), (before, _held())


def _held() -> dict[str, int]:
    """What this process holds of its host."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = entry.read_text(errors="replace").partition(" (")
        except OSError:
            continue
        parents[int(pid)] = int(rest.rpartition(") ")[2].split()[1])
    family = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= more
    return {
        "file descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "threads": threading.active_count(),
        "descendants": len(family) - 1,
        "mounts": Path("/proc/self/mountinfo").read_text().count("\n"),
    }
