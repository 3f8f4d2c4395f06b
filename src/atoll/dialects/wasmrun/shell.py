"""The small shell: eleven builtins over a session's files. No program is started by it."""

import posixpath
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from atoll.core.errors import AtollError, Gone
from atoll.core.model import FileKind
from atoll.dialects.wasmrun.files import SessionFiles
from atoll.dialects.wasmrun.grammar import Command, Pipeline, parse

T = TypeVar("T")
NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class Said:
    """What a line has printed, and its exit code."""

    stdout: bytes
    stderr: bytes
    code: int


class _Failed(Exception):
    """A builtin says why it cannot."""


class Shell:
    """Runs one line. Its directory is the root again at each."""

    def __init__(self, files: SessionFiles, env: dict[str, str], stdin: bytes, most: int) -> None:
        self._files = files
        self._env = env
        self._stdin = stdin
        self._most = most
        self._directory = "/"
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._builtins: Mapping[str, Callable[[Sequence[str], bytes], Awaitable[bytes]]] = {
            "echo": self._echo,
            "cat": self._cat,
            "ls": self._ls,
            "pwd": self._pwd,
            "cd": self._cd,
            "mkdir": self._mkdir,
            "rm": self._rm,
            "cp": self._cp,
            "mv": self._mv,
            "env": self._show_env,
            "export": self._export,
        }

    async def run(self, line: str) -> Said:
        """Run it. `BadRequest` when it cannot be parsed; then nothing has run."""
        code = 0
        for pipeline in parse(line):
            if pipeline.after_success and code != 0:
                continue
            code = await self._pipeline(pipeline)
        return Said(bytes(self._stdout), bytes(self._stderr), code)

    async def _pipeline(self, pipeline: Pipeline) -> int:
        code, piped = 0, self._stdin
        for command in pipeline.commands:
            code, piped = await self._one(command, piped)
        self._stdout += piped[: max(0, self._most + 1 - len(self._stdout))]
        return code

    async def _one(self, command: Command, piped: bytes) -> tuple[int, bytes]:
        name, *args = command.words
        builtin = self._builtins.get(name)
        if builtin is None:
            self._stderr += f"{name}: command not found\n".encode()
            return NOT_FOUND, b""
        try:
            if command.source is not None:
                piped = await self._read(command.source)
            output = await builtin(args, piped)
            if len(output) > self._most:
                output = output[: self._most]
            if command.target is not None:
                await self._redirect(command, output)
                output = b""
        except _Failed as failed:
            self._stderr += f"{name}: {failed}\n".encode()
            return 1, b""
        return 0, output

    async def _redirect(self, command: Command, output: bytes) -> None:
        path = self._path(command.target or "")
        old = b""
        if command.append and await self._files.stat(path) is not None:
            old = await self._read(path)
        await self._write(path, old + output)

    async def _echo(self, args: Sequence[str], _: bytes) -> bytes:
        return (" ".join(args) + "\n").encode("utf-8", "replace")

    async def _cat(self, args: Sequence[str], piped: bytes) -> bytes:
        if not args:
            return piped
        found = bytearray()
        for name in args:
            found += await self._read(name)
            if len(found) > self._most:
                break
        return bytes(found)

    async def _ls(self, args: Sequence[str], _: bytes) -> bytes:
        names = [arg for arg in args if not arg.startswith("-")] or ["."]
        lines: list[str] = []
        for name in names:
            path = self._path(name)
            found = await self._files.stat(path)
            if found is None:
                raise _Failed(f"{name}: No such file or directory")
            if found.kind is not FileKind.DIRECTORY:
                lines.append(name)
                continue
            listed = await self._guarded(self._files.list(path), name)
            lines += sorted(posixpath.basename(entry.path) for entry in listed)
        return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")

    async def _pwd(self, _: Sequence[str], __: bytes) -> bytes:
        return f"{self._directory}\n".encode()

    async def _cd(self, args: Sequence[str], _: bytes) -> bytes:
        name = args[0] if args else "/"
        path = self._path(name)
        if not await self._files.is_directory(path):
            raise _Failed(f"{name}: No such file or directory")
        self._directory = path
        return b""

    async def _mkdir(self, args: Sequence[str], _: bytes) -> bytes:
        parents = "-p" in args
        names = [arg for arg in args if arg != "-p"]
        if not names:
            raise _Failed("missing operand")
        for name in names:
            path = self._path(name)
            if parents and await self._files.is_directory(path):
                continue
            await self._guarded(self._files.mkdir(path, parents=parents), name)
        return b""

    async def _rm(self, args: Sequence[str], _: bytes) -> bytes:
        flags = {letter for arg in args if arg.startswith("-") for letter in arg[1:]}
        names = [arg for arg in args if not arg.startswith("-")]
        if not names and "f" not in flags:
            raise _Failed("missing operand")
        for name in names:
            path = self._path(name)
            found = await self._files.stat(path)
            if found is None:
                if "f" in flags:
                    continue
                raise _Failed(f"{name}: No such file or directory")
            if found.kind is FileKind.DIRECTORY and "r" not in flags:
                raise _Failed(f"{name}: is a directory")
            await self._guarded(self._files.remove(path), name)
        return b""

    async def _cp(self, args: Sequence[str], _: bytes) -> bytes:
        source, target = self._two(args)
        found = await self._files.stat(source)
        if found is not None and found.kind is FileKind.DIRECTORY:
            raise _Failed(f"{args[0]}: is a directory")
        content = await self._read(args[0])
        await self._write(await self._into(source, target), content)
        return b""

    async def _mv(self, args: Sequence[str], _: bytes) -> bytes:
        source, target = self._two(args)
        if await self._files.stat(source) is None:
            raise _Failed(f"{args[0]}: No such file or directory")
        await self._guarded(self._files.move(source, await self._into(source, target)), args[1])
        return b""

    async def _show_env(self, _: Sequence[str], __: bytes) -> bytes:
        return "".join(f"{k}={v}\n" for k, v in sorted(self._env.items())).encode(
            "utf-8", "replace"
        )

    async def _export(self, args: Sequence[str], _: bytes) -> bytes:
        for arg in args:
            name, equals, value = arg.partition("=")
            if not equals:
                continue
            if not name or "\0" in arg:
                raise _Failed(f"{arg}: not a valid identifier")
            self._env[name] = value
        return b""

    def _two(self, args: Sequence[str]) -> tuple[str, str]:
        if len(args) != 2:  # noqa: PLR2004 - the word says it
            raise _Failed("expected exactly two arguments")
        return self._path(args[0]), self._path(args[1])

    async def _into(self, source: str, target: str) -> str:
        if await self._files.is_directory(target):
            return posixpath.join(target, posixpath.basename(source))
        return target

    def _path(self, name: str) -> str:
        """The session's path of a name; going above the root is refused."""
        joined = name if name.startswith("/") else f"{self._directory}/{name}"
        parts: list[str] = []
        for part in joined.split("/"):
            if part == "..":
                if not parts:
                    raise _Failed(f"{name}: Path traversal not allowed")
                parts.pop()
            elif part not in {"", "."}:
                parts.append(part)
        return "/" + "/".join(parts)

    async def _read(self, name: str) -> bytes:
        return await self._guarded(self._files.read(self._path(name)), name)

    async def _write(self, path: str, data: bytes) -> None:
        await self._guarded(self._files.write(path, data), path)

    async def _guarded(self, work: Awaitable[T], name: str) -> T:
        try:
            return await work
        except Gone:
            raise
        except AtollError as error:
            text = error.detail.removeprefix("Bad request: ").removeprefix("Not found: ")
            text = text.removeprefix(f"{self._path(name)}: ")
            raise _Failed(text if text.startswith(name) else f"{name}: {text}") from error
