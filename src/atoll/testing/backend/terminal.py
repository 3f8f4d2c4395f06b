"""Terminals: size, control characters, one channel."""

import contextlib
from dataclasses import replace

import anyio
import pytest

from atoll.core.errors import Conflict
from atoll.core.model import Channel, Exit, ExitReason, ProcessSpec, TtySize
from atoll.core.ports import Process, Sandbox
from atoll.testing.backend.cases import Cases, needs
from atoll.testing.backend.running import finish, program, run, script

CTRL_C = b"\x03"
WINCH = """
import signal, sys, time
signal.signal(signal.SIGWINCH, lambda *_: (print("resized", flush=True), sys.exit(9)))
print("ready", flush=True)
time.sleep(20)
"""


def on_a_terminal(spec: ProcessSpec, rows: int = 24, cols: int = 80) -> ProcessSpec:
    """The same with a terminal."""
    return replace(spec, tty=TtySize(rows, cols), stdin=True)


async def _until(process: Process, word: bytes) -> None:
    seen = b""
    with anyio.fail_after(10):
        async for _, data in process.output():
            seen += data
            if word in seen:
                return
    raise AssertionError(f"{word!r} was not in {seen!r}")


class TerminalCases(Cases):
    """`ProcessSpec.tty` and `Process.resize`."""

    async def test_without_a_terminal(self, box: Sandbox) -> None:
        done = await run(box, script("test -t 0 || test -t 1 || echo none"))
        assert done.stdout == b"none\n"

    @needs("tty")
    async def test_with_a_terminal(self, box: Sandbox) -> None:
        process = await box.start(on_a_terminal(script("test -t 0 && test -t 1 && echo both")))
        done = await finish(process)
        assert done.stdout.strip() == b"both"
        assert done.exit.code == 0

    @needs("tty")
    async def test_everything_is_stdout(self, box: Sandbox) -> None:
        process = await box.start(on_a_terminal(script("echo out; echo err >&2")))
        done = await finish(process)
        assert {chunk.channel for chunk in done.chunks} == {Channel.STDOUT}
        assert done.stdout.split() == [b"out", b"err"]

    @needs("tty")
    async def test_the_size(self, box: Sandbox) -> None:
        process = await box.start(on_a_terminal(program("stty", "size"), 31, 101))
        assert (await finish(process)).stdout.strip() == b"31 101"

    @needs("tty")
    async def test_a_new_size(self, box: Sandbox) -> None:
        process = await box.start(on_a_terminal(script("read go; stty size")))
        await process.resize(50, 132)
        await process.write_stdin(b"go\n")
        assert (await finish(process)).stdout.split()[-2:] == [b"50", b"132"]

    @needs("tty", "python")
    async def test_the_program_is_told_of_a_new_size(self, box: Sandbox, place: str) -> None:
        spec = replace(program("python3", "main.py"), files={"main.py": WINCH.encode()}, cwd=place)
        process = await box.start(on_a_terminal(spec))
        output = process.output()
        with anyio.fail_after(10):
            assert (await anext(output))[1].strip() == b"ready"
            await process.resize(40, 90)
            rest = b"".join([data async for _, data in output])
            assert rest.strip() == b"resized"
            assert (await process.wait()).code == 9

    async def test_no_terminal_has_no_size(self, box: Sandbox) -> None:
        process = await box.start(program("sleep", "5"))
        with pytest.raises(Conflict):
            await process.resize(10, 10)
        await process.signal(9)
        await process.wait()

    @needs("tty")
    async def test_ctrl_c(self, box: Sandbox) -> None:
        process = await box.start(on_a_terminal(script("echo ready; sleep 20")))
        await _until(process, b"ready")
        ended: Exit | None = None
        with anyio.fail_after(15):
            while ended is None:
                # A shell that is about to start a program lets that miss it: press it again.
                with contextlib.suppress(Conflict):
                    await process.write_stdin(CTRL_C)
                with anyio.move_on_after(1):
                    ended = await process.wait()
        assert (ended.code, ended.reason, ended.signal) == (None, ExitReason.SIGNAL, 2)

    @needs("tty")
    async def test_closing_the_input_is_ctrl_d(self, box: Sandbox) -> None:
        process = await box.start(on_a_terminal(program("cat")))
        await process.write_stdin(b"line\n")
        await anyio.sleep(0.1)
        await process.close_stdin()
        done = await finish(process)
        assert done.stdout.split()[-1] == b"line"
        assert done.exit.code == 0
