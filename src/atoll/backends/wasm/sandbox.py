"""An open wasm sandbox: the files of its worker, and modules that run in it."""

import json
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial
from typing import Protocol

from atoll.backends.wasm.process import WasmProcess
from atoll.backends.wasm.programs import Program
from atoll.backends.wasm.ready import ENTER, Ready
from atoll.core.errors import InvalidRequest, NotFound, Unsupported
from atoll.core.model import MIB, WORKSPACE, Change, ProcessSpec, SandboxSpec
from atoll.core.ports import Ended, Files, Sandbox, Watches
from atoll.wire import paths

MODULE_MAX = 128 * MIB
CODE = "/opt/atoll/wasm/code"
ENVIRONMENT = {"HOME": WORKSPACE, "PATH": "/", "LANG": "C.UTF-8"}
_LEADS = (b"\0asm", b"(", b";;")


class Toolbox(Protocol):
    """What a sandbox asks of its backend."""

    @property
    def engine(self) -> str:
        """The engine and its version."""
        ...

    def named(self, word: str) -> Program | None:
        """The operator's program of that name."""
        ...

    async def of_program(self, program: Program, *, fuel: bool) -> str:
        """The compiled code of a program, beneath `CODE`."""
        ...

    async def of_module(self, data: bytes, *, fuel: bool) -> str:
        """The compiled code of a sandbox's own module. Raises `InvalidRequest`."""
        ...

    async def forget(self, code: str) -> None:
        """That compiled code is of no use: make it anew the next time."""
        ...


class WasmSandbox:
    """Implements `Sandbox`, `Ended`, `Watches` and `RunsModules`, over a worker.

    A module sees the process's working directory as `/`, and the sandbox's as `/workspace`.
    """

    def __init__(self, spec: SandboxSpec, worker: Sandbox, toolbox: Toolbox) -> None:
        self._spec = spec
        self._worker = worker
        self._toolbox = toolbox
        self._number = 0
        self._ready: Ready | None = None

    @property
    def id(self) -> str:
        return self._spec.id

    @property
    def files(self) -> Files:
        return self._worker.files

    @property
    def engine(self) -> str:
        return self._toolbox.engine

    async def ended(self) -> str:
        if not isinstance(self._worker, Ended):
            raise Unsupported("Workers of this kind do not tell their end.")
        return await self._worker.ended()

    def watch(self, path: str) -> AsyncGenerator[Change, None]:
        if not isinstance(self._worker, Watches):
            raise Unsupported("Files of this kind of worker cannot be watched.")
        return self._worker.watch(path)

    async def start(self, spec: ProcessSpec) -> WasmProcess:
        if spec.tty is not None:
            raise Unsupported("A WebAssembly program cannot have a terminal.")
        _check(spec)
        word, fuel = spec.argv[0], spec.fuel is not None
        program = self._toolbox.named(word)
        if program is not None:
            code = await self._toolbox.of_program(program, fuel=fuel)
        else:
            code = await self._toolbox.of_module(await self._module(spec), fuel=fuel)
        self._number += 1
        report = f"/run/atoll-wasm-{self._number}.json"
        words = ["--code", f"{CODE}/{code}", "--report", report]
        words += [*self._options(spec, program), *spec.argv]
        ready, self._ready = self._ready, None
        farewell = None
        if ready is not None:
            process, output, farewell = await ready.run(spec, words)
        else:
            process = await self._worker.start(
                replace(spec, argv=(*ENTER, *words), env={}, function=None, fuel=None)
            )
            output = process.output()
        return WasmProcess(
            process,
            output,
            self.files,
            report,
            partial(self._toolbox.forget, code),
            function=spec.function is not None,
            farewell=farewell,
        )

    async def prepare(self, program: Program | None, code: str | None) -> None:
        """Start a worker now for the first program, expecting that it will be this one.

        Without a program the code is that of a module, which is loaded, but not run.
        """
        spec = ProcessSpec(("rehearsal",))
        words = self._options(spec, program)
        if code is not None:
            words = ["--load" if program is None else "--code", f"{CODE}/{code}", *words]
        if program is not None and program.starts and code is not None:
            words = ["--start", program.starts, *words]
        words += spec.argv if program is None else program.rehearsal
        self._ready = await Ready.start(self._worker, words)

    def _options(self, spec: ProcessSpec, program: Program | None) -> list[str]:
        env = {**ENVIRONMENT, "PWD": spec.cwd, **self._spec.env, **spec.env}
        options = ["--brief", "--root", "."]
        options += ["--memory-mb", str(max(1, self._spec.limits.memory_bytes // MIB))]
        options += ["--dir", f"{WORKSPACE}::{WORKSPACE}", "--dir", "/tmp::/tmp"]
        if program is not None:
            env = {**program.env, **env}
            for place, name in program.directories:
                options += ["--dir", f"{place}::{name}:ro"]
            if program.call:
                options += ["--call", program.call]
        if spec.function is not None:
            options += ["--invoke", spec.function]
        if spec.fuel is not None:
            options += ["--fuel", str(spec.fuel)]
        return [*options, "--env", json.dumps(env), "--"]

    async def _module(self, spec: ProcessSpec) -> bytes:
        """The bytes of the file that the command names."""
        word = spec.argv[0]
        try:
            place = paths.clean(word, spec.cwd)
            written = {paths.clean(path, spec.cwd): data for path, data in spec.files.items()}
        except paths.BadPath as error:
            raise InvalidRequest(f"{word!r} cannot be a path: {error}", field="argv") from error
        data = bytearray(written.get(place, b""))
        if place not in written:
            try:
                async for block in self.files.read(place):
                    data += block
                    if len(data) > MODULE_MAX:
                        break
            except (NotFound, InvalidRequest) as error:
                raise InvalidRequest(
                    f"There is no program {word!r} in the sandbox.", field="argv"
                ) from error
        if len(data) > MODULE_MAX:
            raise InvalidRequest(f"{word!r} is over {MODULE_MAX // MIB} MiB.", field="argv")
        if not data.lstrip().startswith(_LEADS):
            raise InvalidRequest(
                f"The program {word!r} is not WebAssembly, neither binary nor text.", field="argv"
            )
        return bytes(data)


def _check(spec: ProcessSpec) -> None:
    if not spec.argv or not spec.argv[0]:
        raise InvalidRequest("The command is empty.", field="argv")
    if any("\0" in word for word in spec.argv):
        raise InvalidRequest("The command has a NUL byte in it.", field="argv")
    try:
        "".join((*spec.argv, *spec.env, *spec.env.values())).encode()
    except UnicodeEncodeError:
        raise InvalidRequest("WebAssembly takes only UTF-8 words and variables.") from None
    for key, value in spec.env.items():
        if not key or "=" in key or "\0" in key or "\0" in value:
            raise InvalidRequest(f"{key!r} is not an environment variable.", field="env")
    if spec.function == "":
        raise InvalidRequest("The function's name is empty.", field="function")
    if spec.function is not None and "\0" in spec.function:
        raise InvalidRequest("The function's name has a NUL in it.", field="function")
    if spec.fuel is not None and not 0 < spec.fuel < 1 << 59:
        raise InvalidRequest("fuel must be above 0 and below 2**59.", field="fuel")
