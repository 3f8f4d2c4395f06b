"""Small tools of the cases: start a program, collect what it wrote, read a file."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import anyio

from atoll.core.errors import Conflict
from atoll.core.model import Channel, Exit, ProcessSpec, SandboxSpec
from atoll.core.ports import Files, Process, Sandbox

DEADLINE_S = 15.0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of output and when it came."""

    at: float
    channel: Channel
    data: bytes


@dataclass(frozen=True, slots=True)
class Done:
    """A program that has ended, with all that it wrote."""

    exit: Exit
    chunks: tuple[Chunk, ...]

    @property
    def stdout(self) -> bytes:
        """All of its standard output."""
        return b"".join(chunk.data for chunk in self.chunks if chunk.channel is Channel.STDOUT)

    @property
    def stderr(self) -> bytes:
        """All of its standard error."""
        return b"".join(chunk.data for chunk in self.chunks if chunk.channel is Channel.STDERR)


def fresh_id() -> str:
    """An id that no sandbox has had."""
    return f"sb_{uuid.uuid4().hex[:26]}"


def fresh(**fields: object) -> SandboxSpec:
    """The default sandbox, with an id of its own and other fields where given."""
    return replace(SandboxSpec(fresh_id()), **fields)  # type: ignore[arg-type]


def program(*argv: str, wall_s: float = 10.0) -> ProcessSpec:
    """A program with a deadline that a test can wait for."""
    return ProcessSpec(argv, wall_s=wall_s)


def script(text: str, *, wall_s: float = 10.0) -> ProcessSpec:
    """A line for the shell."""
    return program("sh", "-c", text, wall_s=wall_s)


def python(text: str, *, wall_s: float = 10.0) -> ProcessSpec:
    """A few lines of Python."""
    spec = program("python3", "main.py", wall_s=wall_s)
    return replace(spec, files={"main.py": text.encode()})


async def run(box: Sandbox, spec: ProcessSpec, stdin: bytes | None = None) -> Done:
    """Run a program to its end, feeding it `stdin` and reading all its output."""
    if stdin is not None:
        spec = replace(spec, stdin=True)
    return await finish(await box.start(spec), stdin)


async def finish(process: Process, stdin: bytes | None = None) -> Done:
    """Read a started program to its end."""
    chunks: list[Chunk] = []
    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:
            if stdin is not None:
                tasks.start_soon(_feed, process, stdin)
            async for channel, data in process.output():
                chunks.append(Chunk(anyio.current_time(), channel, data))
        return Done(await process.wait(), tuple(chunks))


async def _feed(process: Process, data: bytes) -> None:
    with suppress(Conflict):
        await process.write_stdin(data)
        await process.close_stdin()


async def first(process: Process) -> bytes:
    """The first piece of output. The rest is left in the pipe."""
    with anyio.fail_after(DEADLINE_S):
        async for _, data in process.output():
            return data
    raise AssertionError("The program ended without a word.")


async def read(files: Files, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
    """The bytes of a file, or of a part of it."""
    return await joined(files.read(path, offset=offset, length=length))


async def joined(stream: AsyncIterable[bytes]) -> bytes:
    """The bytes of a stream."""
    with anyio.fail_after(DEADLINE_S):
        return b"".join([block async for block in stream])


async def names(files: Files, path: str, *, depth: int = 1) -> list[str]:
    """What a directory lists, relative to it, in the order it came."""
    prefix = path.rstrip("/") + "/"
    return [stat.path.removeprefix(prefix) async for stat in files.list(path, depth=depth)]


async def stream(*blocks: bytes) -> AsyncGenerator[bytes, None]:
    """The blocks as a stream."""
    for block in blocks:
        await anyio.lowlevel.checkpoint()
        yield block


async def eventually(holds: Callable[[], Awaitable[bool]], within_s: float = 5.0) -> bool:
    """Ask again and again until it holds, or the time is over."""
    with anyio.move_on_after(within_s):
        while not await holds():
            await anyio.sleep(0.02)
        return True
    return False
