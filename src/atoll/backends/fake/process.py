"""A program of the fake: a coroutine with pipes, signals and limits."""

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager, suppress

import anyio
from anyio.lowlevel import checkpoint

from atoll.backends.fake.faults import Faults
from atoll.backends.fake.pipes import CHUNK, Pipe, Stdin
from atoll.core.errors import Conflict, InvalidRequest
from atoll.core.model import Channel, Exit, ExitReason, ProcessSpec, TtySize, Usage

SIGINT, SIGQUIT, SIGWINCH, LAST_SIGNAL = 2, 3, 28, 64
HARMLESS = frozenset({0, 17, 18, 19, 20, 21, 22, 23, SIGWINCH})
CONTROL = {0x03: SIGINT, 0x1C: SIGQUIT}
END_OF_INPUT = 0x04

Spawn = Callable[[Callable[[], Coroutine[None, None, None]]], None]


class FakeProcess:
    """One started program and the children it left in the background."""

    def __init__(self, pid: int, spec: ProcessSpec, faults: Faults, spawn: Spawn) -> None:
        self._pid = pid
        self.spec = spec
        self.tty: TtySize | None = spec.tty
        self.running = anyio.Event()
        self.running.set()
        self._faults = faults
        self._spawn = spawn
        self._output: Pipe[tuple[Channel, bytes]] = Pipe()
        wants_stdin = spec.stdin or spec.tty is not None
        self._stdin: Pipe[bytes] | None = Pipe() if wants_stdin else None
        self.stdin = Stdin(self._stdin)
        self._scopes: set[anyio.CancelScope] = set()
        self._deadline = anyio.current_time() + spec.wall_s
        self._started = anyio.current_time()
        self._written = 0
        self._kept = dict.fromkeys(Channel, 0)
        self._cut = False
        self._writing = anyio.Lock()
        self._exit: Exit | None = None
        self._over = anyio.Event()
        self._handlers: dict[int, Callable[[], None]] = {}
        self.blame: ExitReason | None = None
        self._stood: float | None = None

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def over(self) -> bool:
        """True once the program has ended."""
        return self._exit is not None

    async def output(self) -> AsyncGenerator[tuple[Channel, bytes], None]:
        while (item := await self._output.get()) is not None:
            yield item

    async def write_stdin(self, data: bytes) -> None:
        await self._faults.at("stdin")
        if self._stdin is None or self._stdin.closed:
            raise Conflict("The process reads no input, or its input is closed.")
        try:
            for start in range(0, len(data), CHUNK):
                await self._feed(self._stdin, data[start : start + CHUNK])
        except BrokenPipeError as error:
            raise Conflict("The process has closed its input.") from error

    async def close_stdin(self) -> None:
        await self._faults.at("stdin")
        if self._stdin is not None:
            self._stdin.close()

    async def signal(self, number: int) -> None:
        await self._faults.at("signal")
        if not 0 < number <= LAST_SIGNAL:
            raise InvalidRequest(f"There is no signal {number}.", field="signal")
        self.kill(number)

    async def resize(self, rows: int, cols: int) -> None:
        await checkpoint()
        if self.tty is None:
            raise Conflict("The process has no terminal.")
        self.tty = TtySize(rows, cols)
        self.kill(SIGWINCH)

    async def wait(self) -> Exit:
        await self._faults.at("wait")
        await self._over.wait()
        return self._exit or Exit(None, ExitReason.UNKNOWN)

    def kill(self, number: int) -> None:
        """Deliver a signal to the program and its children."""
        handler = self._handlers.get(number)
        if self.over:
            return
        if handler is not None:
            handler()
        elif number not in HARMLESS:
            self.end(ExitReason.SIGNAL, number=number)

    def stand_still(self) -> None:
        """No time passes for it any more."""
        self.running = anyio.Event()
        self._stood = anyio.current_time()
        for scope in self._scopes:
            scope.deadline = math.inf

    def go_on(self) -> None:
        """Time passes again."""
        if self._stood is not None:
            self._deadline += anyio.current_time() - self._stood
            self._stood = None
            for scope in self._scopes:
                scope.deadline = self._deadline
        self.running.set()

    def on_signal(self, number: int, handler: Callable[[], None]) -> None:
        """Let the program handle a signal instead of dying of it."""
        self._handlers[number] = handler

    def end(
        self,
        reason: ExitReason,
        *,
        code: int | None = None,
        number: int | None = None,
        truncated: bool = False,
    ) -> None:
        """End the program and its children; the first reason is the one that counts."""
        self._conclude(reason, code=code, number=number, truncated=truncated)
        for scope in tuple(self._scopes):
            scope.cancel()

    async def run(self, main: Callable[[], Awaitable[int]]) -> None:
        """Be the program until it has ended."""
        code = None
        try:
            with self._scope() as scope, suppress(BrokenPipeError):
                code = await main()
            if scope.cancelled_caught:
                self.end(ExitReason.WALL_TIME)
            elif code and self.blame is not None:
                self.end(self.blame)
            elif code is not None:
                self._conclude(ExitReason.EXITED, code=code)
        finally:
            if not self.over:
                self.end(ExitReason.CANCELLED)

    def background(self, child: Callable[[], Awaitable[int]]) -> None:
        """Start a child that may outlive the program, but not its deadline."""
        self._spawn(lambda: self._child(child))

    async def emit(self, channel: Channel, data: bytes) -> None:
        """Write as the program; waits while nobody reads, ends it past the bound of its output."""
        if self.tty is not None:
            channel, data = Channel.STDOUT, data.replace(b"\n", b"\r\n")
        for start in range(0, len(data) or 1, CHUNK):
            await self._faults.at("output")
            await self.running.wait()
            async with self._writing:
                await self._write(channel, data[start : start + CHUNK])

    async def sleep(self, seconds: float) -> None:
        """Sleep as the program; a frozen one does not wake."""
        await anyio.sleep(seconds)
        await self.running.wait()

    async def _write(self, channel: Channel, chunk: bytes) -> None:
        keep = self.spec.keep_bytes
        room = (
            self.spec.output_bytes - self._written if keep is None else keep - self._kept[channel]
        )
        cut = chunk[:room]
        if cut:
            await self._output.put((channel, cut), len(cut))
            self._written += len(cut)
            self._kept[channel] += len(cut)
        self._cut = self._cut or len(cut) < len(chunk)
        if keep is None and len(cut) < len(chunk):
            self.end(ExitReason.OUTPUT, truncated=True)
            await checkpoint()

    async def _feed(self, pipe: Pipe[bytes], data: bytes) -> None:
        if self.tty is None:
            await pipe.put(data, len(data))
            return
        for byte in data:
            if byte in CONTROL:
                self.kill(CONTROL[byte])
            elif byte == END_OF_INPUT:
                pipe.close()
            else:
                await pipe.put(bytes([byte]).replace(b"\r", b"\n"), 1)

    async def _child(self, child: Callable[[], Awaitable[int]]) -> None:
        with self._scope(), suppress(BrokenPipeError):
            await child()

    @contextmanager
    def _scope(self) -> Generator[anyio.CancelScope, None, None]:
        with anyio.CancelScope(deadline=self._deadline) as scope:
            self._scopes.add(scope)
            try:
                yield scope
            finally:
                self._scopes.discard(scope)

    def _conclude(
        self,
        reason: ExitReason,
        *,
        code: int | None = None,
        number: int | None = None,
        truncated: bool = False,
    ) -> None:
        if self._exit is not None:
            return
        usage = Usage(wall_s=anyio.current_time() - self._started)
        self._exit = Exit(code, reason, number, truncated or self._cut, usage)
        self._over.set()
        self._output.close()
        if self._stdin is not None:
            self._stdin.close()
