"""What a program of the fake is: a coroutine that gets an `Invocation` and returns its code."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Self

from atoll.backends.fake.pipes import Stdin
from atoll.backends.fake.process import FakeProcess
from atoll.backends.fake.tree import Tree, absolute
from atoll.core.model import Channel

Sink = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a program, with what it may touch.

    `kill(pid, number)` signals another process of the sandbox and says whether it was there.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    tree: Tree
    process: FakeProcess
    stdin: Stdin
    stdout: Sink
    stderr: Sink
    kill: Callable[[int, int], bool]

    def path(self, name: str) -> str:
        """The path of a file that the program names."""
        return name if name.startswith("/") else f"{self.cwd}/{name}"

    def called(self, *argv: str) -> Self:
        """The same invocation with other arguments."""
        return replace(self, argv=argv)

    async def fail(self, message: str, code: int = 1) -> int:
        """Complain on stderr, and return the code to return."""
        await self.stderr(f"{self.argv[0]}: {message}\n".encode("utf-8", "surrogateescape"))
        return code


Program = Callable[[Invocation], Awaitable[int]]


def invocation(
    process: FakeProcess, env: dict[str, str], tree: Tree, kill: Callable[[int, int], bool]
) -> Invocation:
    """The first invocation of a process, wired to its own pipes."""

    async def stdout(data: bytes) -> None:
        await process.emit(Channel.STDOUT, data)

    async def stderr(data: bytes) -> None:
        await process.emit(Channel.STDERR, data)

    return Invocation(
        argv=process.spec.argv,
        env=env,
        cwd=absolute(process.spec.cwd),
        tree=tree,
        process=process,
        stdin=process.stdin,
        stdout=stdout,
        stderr=stderr,
        kill=kill,
    )
