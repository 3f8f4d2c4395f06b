"""The fake's files: the whole protocol over a tree in memory."""

from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterator
from copy import deepcopy

from atoll.backends.fake import archive
from atoll.backends.fake.pipes import CHUNK
from atoll.backends.fake.tree import Node, Place, Tree, absolute, describe
from atoll.core.errors import Conflict, InvalidRequest, NotFound, PreconditionFailed
from atoll.core.model import FileKind, Stat

Step = Callable[[str], Awaitable[None]]


class FakeFiles:
    """Files of one open sandbox. `at` passes a named step, and raises when the sandbox is dead."""

    def __init__(self, tree: Tree, at: Step) -> None:
        self._tree = tree
        self._at = at

    async def stat(self, path: str) -> Stat:
        await self._at("files.stat")
        return describe(absolute(path), self._tree.get(path, follow=False))

    async def list(self, path: str, *, depth: int = 1) -> AsyncGenerator[Stat, None]:
        await self._at("files.list")
        if depth < 1:
            raise InvalidRequest("The depth is at least 1.", field="depth")
        for stat in tuple(_beneath(absolute(path), self._tree.directory(path), depth)):
            yield stat

    async def read(
        self, path: str, *, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        await self._at("files.read")
        if offset < 0 or (length is not None and length < 0):
            raise InvalidRequest("A range is not negative.", field="offset")
        data = self._tree.file(path).data
        end = len(data) if length is None else min(len(data), offset + length)
        for start in range(offset, end, CHUNK):
            await self._at("files.chunk")
            yield data[start : min(end, start + CHUNK)]

    async def write(
        self,
        path: str,
        data: bytes | AsyncIterable[bytes],
        *,
        mode: int = 0o644,
        if_match: str | None = None,
    ) -> Stat:
        await self._at("files.write")
        self._precondition(path, if_match)
        content = data if isinstance(data, bytes) else await self._collect(data)
        await self._at("files.written")
        self._precondition(path, if_match)
        place = self._tree.locate(path, make=True)
        if place.node is not None and place.node.kind is not FileKind.FILE:
            raise InvalidRequest(f"{path!a} is not a regular file.", field="path")
        return describe(absolute(path), self._tree.add(place, FileKind.FILE, mode, content))

    async def mkdir(self, path: str, *, mode: int = 0o755, parents: bool = True) -> Stat:
        await self._at("files.mkdir")
        place = self._tree.locate(path, make=parents)
        node = place.node
        if node is None:
            node = self._tree.add(place, FileKind.DIRECTORY, mode)
        elif not parents or node.kind is not FileKind.DIRECTORY:
            raise Conflict(f"{path!a} exists already.")
        return describe(absolute(path), node)

    async def move(self, source: str, target: str, *, overwrite: bool = False) -> Stat:
        await self._at("files.move")
        start = self._tree.locate(source, follow=False)
        if start.node is None:
            raise NotFound("file", source)
        end = self._tree.locate(target, follow=False, make=True)
        if start.node is self._tree.root or self._is_within(start.node, end):
            raise InvalidRequest(f"{source!a} cannot be moved into itself.", field="target")
        if end.node is not None and end.node is not start.node:
            self._replaceable(start.node, end.node, overwrite=overwrite)
        if end.node is not start.node:
            self._tree.move(start, end)
        return describe(absolute(target), start.node)

    async def remove(self, path: str, *, recursive: bool = False) -> None:
        await self._at("files.remove")
        place = self._tree.locate(path, follow=False)
        if place.node is None:
            raise NotFound("file", path)
        if place.node is self._tree.root:
            raise InvalidRequest("The root cannot be removed.", field="path")
        if place.node.children and not recursive:
            raise Conflict(f"{path!a} is not empty.")
        self._tree.discard(place)

    async def pack(self, path: str, *, dotted: bool = False) -> AsyncGenerator[bytes, None]:
        await self._at("files.pack")
        for block in archive.pack(self._tree.get(path), absolute(path), dotted=dotted):
            await self._at("files.chunk")
            yield block

    async def unpack(self, path: str, data: AsyncIterable[bytes], *, whole: bool = False) -> int:
        await self._at("files.unpack")
        content = await self._collect(data)
        before = deepcopy(self._tree.root) if whole else None
        try:
            return archive.unpack(self._tree, path, content)
        except BaseException:
            if before is not None:
                self._tree.root = before
            raise

    async def _collect(self, data: AsyncIterable[bytes]) -> bytes:
        content = bytearray()
        async for block in data:
            await self._at("files.received")
            content += block
            self._tree.room(len(content))
        return bytes(content)

    def _precondition(self, path: str, if_match: str | None) -> None:
        if if_match is None:
            return
        try:
            node = self._tree.locate(path).node
        except NotFound:
            node = None
        etag = None if node is None else describe(absolute(path), node).etag
        holds = {"": etag is None, "*": etag is not None}.get(if_match, etag == if_match)
        if not holds:
            raise PreconditionFailed(f"{path!a} is not what if_match says; its etag is {etag}.")

    @staticmethod
    def _is_within(node: Node, place: Place) -> bool:
        def holds(parent: Node) -> bool:
            return parent is place.parent or any(map(holds, parent.children.values()))

        return holds(node) and node.kind is FileKind.DIRECTORY

    @staticmethod
    def _replaceable(source: Node, target: Node, *, overwrite: bool) -> None:
        if not overwrite or target.children:
            raise Conflict("The target exists already.")
        if (source.kind is FileKind.DIRECTORY) is not (target.kind is FileKind.DIRECTORY):
            raise InvalidRequest("A directory and a file do not replace each other.")


def _beneath(path: str, node: Node, depth: int) -> Iterator[Stat]:
    for name in sorted(node.children):
        child = node.children[name]
        inner = f"{path.rstrip('/')}/{name}"
        yield describe(inner, child)
        if depth > 1:
            yield from _beneath(inner, child, depth - 1)
