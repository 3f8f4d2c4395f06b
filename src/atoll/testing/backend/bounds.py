"""Bounds on one program: time and output. Every backend keeps them."""

from dataclasses import replace

import anyio
import pytest

from atoll.core.errors import NotFound
from atoll.core.model import ExitReason
from atoll.core.ports import Sandbox
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import program, run, script

CUT = 100_000


class BoundCases(Cases):
    """`ProcessSpec.wall_s`, `cpu_s` and `output_bytes`."""

    theme_needs = ("programs",)

    async def test_wall_time(self, box: Sandbox) -> None:
        started = anyio.current_time()
        done = await run(box, program("sleep", "20", wall_s=0.4))
        assert (done.exit.code, done.exit.reason) == (None, ExitReason.WALL_TIME)
        assert 0.3 < anyio.current_time() - started < 3

    async def test_output_before_the_deadline_is_kept(self, box: Sandbox) -> None:
        done = await run(box, script("echo early; sleep 20", wall_s=0.4))
        assert done.stdout == b"early\n"
        assert done.exit.reason is ExitReason.WALL_TIME

    @needs("processes")
    async def test_the_deadline_ends_children_too(self, box: Sandbox, place: str) -> None:
        child = f"sleep 0.5 && echo alive > {place}/%s & sleep %s"
        late = await run(box, script(child % ("late", "20"), wall_s=0.3))
        assert late.exit.reason is ExitReason.WALL_TIME
        early = await run(box, script(child % ("early", "0.8")))
        assert early.exit.code == 0
        await box.files.stat(f"{place}/early")
        with pytest.raises(NotFound):
            await box.files.stat(f"{place}/late")

    @needs("shell")
    async def test_the_deadline_ends_those_who_left_the_group(
        self, box: Sandbox, place: str
    ) -> None:
        child = f"setsid sh -c 'sleep 0.5; echo alive > {place}/%s' & sleep %s"
        late = await run(box, script(child % ("late", "20"), wall_s=0.3))
        assert late.exit.reason is ExitReason.WALL_TIME
        await run(box, script(child % ("early", "0.8")))
        await box.files.stat(f"{place}/early")
        with pytest.raises(NotFound):
            await box.files.stat(f"{place}/late")

    @needs("shell")
    async def test_the_deadline_cannot_be_ignored(self, box: Sandbox) -> None:
        stubborn = "trap '' TERM INT HUP QUIT; while :; do sleep 0.1; done"
        done = await run(box, script(stubborn, wall_s=0.4))
        assert done.exit.reason is ExitReason.WALL_TIME

    async def test_a_bound_holds_though_nobody_reads(self, box: Sandbox) -> None:
        process = await box.start(program("yes", wall_s=0.5))
        with anyio.fail_after(5):
            ended = await process.wait()
        assert ended.code is None
        assert ended.reason in {ExitReason.WALL_TIME, ExitReason.OUTPUT}

    async def test_output_is_cut(self, box: Sandbox) -> None:
        done = await run(box, replace(program("yes"), output_bytes=CUT))
        assert (done.exit.code, done.exit.reason) == (None, ExitReason.OUTPUT)
        assert done.exit.truncated
        assert done.stdout == b"y\n" * (CUT // 2)

    @needs("processes")
    async def test_both_channels_count(self, box: Sandbox) -> None:
        spec = replace(script("yes & yes >&2"), output_bytes=CUT)
        done = await run(box, spec)
        assert done.exit.reason is ExitReason.OUTPUT
        assert len(done.stdout) + len(done.stderr) == CUT

    @needs("shell")
    async def test_what_is_beyond_what_is_kept_is_thrown_away(self, box: Sandbox) -> None:
        loud = "head -c 300000 /dev/zero; head -c 50000 /dev/zero >&2; exit 3"
        done = await run(box, replace(script(loud), output_bytes=CUT, keep_bytes=CUT))
        assert (done.exit.code, done.exit.reason, done.exit.truncated) == (3, "exited", True)
        assert len(done.stdout) == CUT
        assert len(done.stderr) == min(CUT, 50_000)

    async def test_just_enough_output_is_not_cut(self, box: Sandbox, place: str) -> None:
        await box.files.write(f"{place}/exact", b"x" * CUT)
        done = await run(box, replace(program("cat", f"{place}/exact"), output_bytes=CUT))
        assert (done.exit.code, done.exit.reason) == (0, ExitReason.EXITED)
        assert not done.exit.truncated
        assert len(done.stdout) == CUT

    async def test_what_is_not_cut_is_the_beginning(self, box: Sandbox, place: str) -> None:
        data = b"".join(b"%06d\n" % number for number in range(20_000))
        await box.files.write(f"{place}/numbers", data)
        done = await run(box, replace(program("cat", f"{place}/numbers"), output_bytes=12_345))
        assert done.stdout == data[:12_345]

    @needs("shell", "limit:cpu_time")
    async def test_cpu_time(self, box: Sandbox) -> None:
        done = await run(box, replace(script("while :; do :; done"), cpu_s=0.5))
        assert (done.exit.code, done.exit.reason) == (None, ExitReason.CPU_TIME)
        assert done.exit.usage.wall_s < 8

    @needs("shell", "limit:cpu_time")
    async def test_sleeping_uses_no_cpu_time(self, box: Sandbox) -> None:
        done = await run(box, replace(program("sleep", "0.8"), cpu_s=0.5))
        assert done.exit.code == 0
