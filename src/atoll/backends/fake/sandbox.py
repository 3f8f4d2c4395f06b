"""An open sandbox of the fake."""

import itertools
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import suppress

import anyio
from anyio.abc import TaskGroup

from atoll.backends.fake.faults import Faults
from atoll.backends.fake.files import FakeFiles
from atoll.backends.fake.process import FakeProcess
from atoll.backends.fake.program import Program, invocation
from atoll.backends.fake.tree import Tree, components
from atoll.core.errors import AtollError, BackendFault, Conflict, InvalidRequest
from atoll.core.model import (
    WORKSPACE,
    Change,
    ExitReason,
    FileKind,
    ProcessSpec,
    SandboxSpec,
)

BASE_ENV = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": WORKSPACE,
    "LANG": "C.UTF-8",
    "TERM": "xterm-256color",
}
REASONS = {
    "memory": ExitReason.MEMORY,
    "closed": ExitReason.CANCELLED,
    "destroyed": ExitReason.CANCELLED,
}
HEARD = 1024
Find = Callable[[str], Program | None]


class FakeSandbox:
    """Runs programs in a task group, over a tree. Can be paused, watched, and can die."""

    def __init__(
        self, spec: SandboxSpec, tree: Tree, tasks: TaskGroup, faults: Faults, find: Find
    ) -> None:
        self.spec = spec
        self.tree = tree
        self.processes: dict[int, FakeProcess] = {}
        self._tasks = tasks
        self._faults = faults
        self._find = find
        self._pids = itertools.count(2)
        self._death: str | None = None
        self._died = anyio.Event()
        self._paused = False
        self._files = FakeFiles(tree, self._at)

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def files(self) -> FakeFiles:
        return self._files

    async def start(self, spec: ProcessSpec) -> FakeProcess:
        await self._at("start")
        if self._paused:
            raise Conflict(f"Sandbox {self.id} is paused.")
        program = self._program(spec)
        self._cwd(spec.cwd)
        for name, data in spec.files.items():
            path = name if name.startswith("/") else f"{spec.cwd}/{name}"
            self.tree.add(self.tree.locate(path, make=True), FileKind.FILE, 0o644, data)
        process = FakeProcess(next(self._pids), spec, self._faults, self._spawn)
        env = BASE_ENV | {"HOSTNAME": self.spec.hostname} | dict(self.spec.env) | dict(spec.env)
        call = invocation(process, env, self.tree, self._kill)
        self.processes[process.pid] = process
        self._tasks.start_soon(process.run, lambda: program(call))
        return process

    async def ended(self) -> str:
        await self._died.wait()
        return self._death or "crash"

    async def watch(self, path: str) -> AsyncGenerator[Change, None]:
        await self._at("files.watch")
        heard: deque[Change] = deque(maxlen=HEARD)
        news = anyio.Event()

        def hear(change: Change) -> None:
            heard.append(change)
            news.set()

        stop = self.tree.watch(path, hear)
        try:
            while True:
                await news.wait()
                news = anyio.Event()
                while heard:
                    yield heard.popleft()
        finally:
            stop()

    async def pause(self) -> None:
        await self._at("pause")
        if self._paused:
            return
        self._paused = True
        for process in self.processes.values():
            process.stand_still()

    async def resume(self) -> None:
        await self._at("resume")
        self._paused = False
        for process in self.processes.values():
            process.go_on()

    def die(self, why: str) -> None:
        """End on its own: every program with it, and nothing can be started any more."""
        if self._death is None:
            self._death = why
            self._died.set()
        reason = REASONS.get(why, ExitReason.UNKNOWN)
        for process in self.processes.values():
            process.end(reason)

    async def _at(self, step: str) -> None:
        await self._faults.at(step, self.die)
        if self._death is not None:
            raise BackendFault(f"Sandbox {self.id} has ended ({self._death}).", sandbox_id=self.id)

    def _spawn(self, child: Callable[[], Coroutine[None, None, None]]) -> None:
        self._tasks.start_soon(child)

    def _kill(self, pid: int, number: int) -> bool:
        process = self.processes.get(pid)
        if process is None or process.over:
            return False
        process.kill(number)
        return True

    def _program(self, spec: ProcessSpec) -> Program:
        if not spec.argv or not spec.argv[0]:
            raise InvalidRequest("argv names no program.", field="argv")
        if any("\0" in arg for arg in (*spec.argv, *spec.env, *spec.env.values())):
            raise InvalidRequest("An argument or a variable holds a NUL.", field="argv")
        if any(not name or "=" in name for name in spec.env):
            raise InvalidRequest("The name of a variable is empty or holds '='.", field="env")
        program = self._find(spec.argv[0])
        if program is None and "/" in spec.argv[0]:
            program = self._script(spec)
        if program is None:
            raise InvalidRequest(f"There is no program {spec.argv[0]!a}.", field="argv")
        return program

    def _script(self, spec: ProcessSpec) -> Program | None:
        name = spec.argv[0]
        path = name if name.startswith("/") else f"{spec.cwd}/{name}"
        with suppress(AtollError):
            node = self.tree.file(path)
            first = node.data.partition(b"\n")[0].decode(errors="replace")
            interpreter = self._find(first.removeprefix("#!").split(" ")[0])
            if node.mode & 0o111 and first.startswith("#!") and interpreter is not None:
                found = interpreter
                return lambda call: found(call.called(first, path, *call.argv[1:]))
        return None

    def _cwd(self, cwd: str) -> None:
        try:
            components(cwd)
            self.tree.directory(cwd)
        except AtollError as error:
            raise InvalidRequest(f"cwd {cwd!a} is not a directory.", field="cwd") from error
