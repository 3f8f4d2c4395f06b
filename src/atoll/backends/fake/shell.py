"""The fake shell: runs what `grammar` has parsed, word by word."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from atoll.backends.fake.grammar import Chain, Command, Word, expand, parse
from atoll.backends.fake.pipes import Stdin
from atoll.backends.fake.program import Invocation, Program, Sink
from atoll.core.errors import AtollError, QuotaExceeded
from atoll.core.model import ExitReason, FileKind

NOT_FOUND = 127


class _Left(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Shell:
    """One running `sh`. `find` gives a program by its name."""

    def __init__(self, call: Invocation, find: Callable[[str], Program | None]) -> None:
        self._call = call
        self._find = find
        self._last = 0

    async def run(self, text: str) -> int:
        """Run a script to its end."""
        try:
            for chain in parse(text):
                await self._chain(chain)
        except _Left as left:
            return left.code
        except ValueError as error:
            return await self._call.fail(f"syntax error: {error}", 2)
        return self._last

    async def _chain(self, chain: Chain) -> None:
        if not chain.background:
            await self._commands(chain)
            return
        child = Shell(replace(self._call, env=dict(self._call.env), stdin=Stdin()), self._find)
        self._call.process.background(lambda: child.detached(chain))
        self._last = 0

    async def detached(self, chain: Chain) -> int:
        """Run as a child in the background."""
        try:
            await self._commands(chain)
        except _Left as left:
            return left.code
        return self._last

    async def _commands(self, chain: Chain) -> None:
        for joint, command in chain.commands:
            if (joint == "&&" and self._last) or (joint == "||" and not self._last):
                continue
            try:
                self._last = await self._command(command)
            except QuotaExceeded:
                self._call.process.blame = ExitReason.DISK
                self._last = await self._call.fail("No space left on device")
            except AtollError as error:
                self._last = await self._call.fail(error.detail)

    async def _command(self, command: Command) -> int:
        words = [self._expand(word) for word in command.words]
        call = self._redirected(replace(self._call, argv=tuple(words)), command)
        while words and "=" in words[0] and words[0].split("=")[0].isidentifier():
            name, _, value = words.pop(0).partition("=")
            call.env[name] = value
        if not words:
            return 0
        call = call.called(*words)
        if words[0] == "exit":
            raise _Left(int(words[1]) % 256 if len(words) > 1 else self._last)
        if words[0] == "cd":
            call.tree.directory(call.path(words[1]))
            self._call = replace(self._call, cwd=call.path(words[1]))
            return 0
        if words[0] == "read":
            line = await call.stdin.line()
            call.env[words[1]] = line.rstrip(b"\n").decode("utf-8", "surrogateescape")
            return 0 if line else 1
        program = self._find(words[0])
        if program is None:
            return await call.fail("not found", NOT_FOUND)
        return await program(call)

    def _expand(self, word: Word) -> str:
        return expand(word, self._value)

    def _value(self, name: str) -> str:
        special = {"?": str(self._last), "$": str(self._call.process.pid), "#": "0", "@": ""}
        return special.get(name, self._call.env.get(name, ""))

    def _redirected(self, call: Invocation, command: Command) -> Invocation:
        for operator, word in command.redirections:
            if word is None:
                call = (
                    replace(call, stdout=call.stderr)
                    if operator == ">&2"
                    else replace(call, stderr=call.stdout)
                )
                continue
            path = call.path(self._expand(word))
            if operator == "<":
                call = replace(call, stdin=_Saved(call.tree.file(path).data))
            elif operator == "2>":
                call = replace(call, stderr=_into(call, path, append=False))
            else:
                call = replace(call, stdout=_into(call, path, append=operator == ">>"))
        return call


class _Saved(Stdin):
    """A file read as standard input."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._held = data


async def _nowhere(_data: bytes) -> None:
    """Write to /dev/null."""


def _into(call: Invocation, path: str, *, append: bool) -> Sink:
    if path == "/dev/null":
        return _nowhere
    place = call.tree.locate(path)
    if place.node is None:
        call.tree.add(place, FileKind.FILE, 0o644)
    elif not append:
        call.tree.add(place, FileKind.FILE, place.node.mode)

    async def sink(data: bytes) -> None:
        await call.process.sleep(0)
        call.tree.append(path, data)

    return sink


def shell(find: Callable[[str], Program | None]) -> Program:
    """`sh -c TEXT` and `sh FILE` as a program."""

    async def sh(call: Invocation) -> int:
        running = replace(call, env=dict(call.env))
        match call.argv[1:]:
            case ("-c", text, *_):
                return await Shell(running, find).run(text)
            case (path, *_):
                source = call.tree.file(call.path(path)).data
                return await Shell(running, find).run(source.decode("utf-8", "surrogateescape"))
            case _:
                script = bytearray()
                while data := await call.stdin.read():
                    script += data
                return await Shell(running, find).run(script.decode("utf-8", "surrogateescape"))

    return sh


def scripts(words: Mapping[str, Program]) -> Callable[[str], Program | None]:
    """Find programs by the last part of their name, as if all were in /bin."""

    def find(name: str) -> Program | None:
        directory, _, base = name.rpartition("/")
        return words.get(base) if directory in {"", "/bin", "/usr/bin"} else None

    return find
