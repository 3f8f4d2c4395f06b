"""A file system in memory: nodes, links that cannot lead out of it, a quota."""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import Self

from atoll.core.errors import InvalidRequest, NotFound, QuotaExceeded
from atoll.core.model import WORKSPACE, Change, FileKind, Limits, Stat

MAX_LINKS = 40
MAX_NAME = 255
MAX_PATH = 4096


@dataclass(slots=True)
class Node:
    """An inode. Only the fields of its kind are used."""

    kind: FileKind
    mode: int
    inode: int
    mtime_ns: int
    data: bytes = b""
    target: str | None = None
    children: dict[str, "Node"] = field(default_factory=dict[str, "Node"])


@dataclass(frozen=True, slots=True)
class Place:
    """A name in a directory, and what is there."""

    parent: Node
    name: str
    node: Node | None


def components(path: str) -> list[str]:
    """The names of a path from the root; `InvalidRequest` when it cannot be one."""
    try:
        encoded = os.fsencode(path)
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"{path!a} is not a path.", field="path") from error
    if b"\0" in encoded or len(encoded) >= MAX_PATH:
        raise InvalidRequest(f"{path[:80]!a} holds a NUL or is too long.", field="path")
    names = [name for name in encoded.split(b"/") if name not in (b"", b".")]
    if any(len(name) > MAX_NAME for name in names):
        raise InvalidRequest("A name has at most 255 bytes.", field="path")
    start = [] if path.startswith("/") else [WORKSPACE[1:]]
    return start + [os.fsdecode(name) for name in names]


def absolute(path: str) -> str:
    """The path from the root, without empty names and dots."""
    return "/" + "/".join(components(path))


class Tree:
    """The files of one sandbox. Every method is one step that nobody can see half done."""

    def __init__(self, limits: Limits, clock: Callable[[], int] = time.time_ns) -> None:
        self._limits = limits
        self._clock = clock
        self._last_ns = 0
        self._inodes = 0
        self._watchers: list[tuple[Node, str, Callable[[Change], None]]] = []
        self.used_bytes = 0
        self.used_files = 0
        self.root = self._node(FileKind.DIRECTORY, 0o755)

    def copy(self, limits: Limits) -> Self:
        """The same files again, sharing nothing that can change."""
        twin = type(self)(limits, self._clock)
        twin.root = _deep(self.root)
        twin._inodes, twin._last_ns = self._inodes, self._last_ns  # noqa: SLF001
        twin.used_bytes, twin.used_files = self.used_bytes, self.used_files
        return twin

    def adopt(self, limits: Limits) -> None:
        """Take the limits of the next opening."""
        self._limits = limits
        self._watchers.clear()

    def locate(self, path: str, *, follow: bool = True, make: bool = False) -> Place:
        """Resolve a path within the root; with `make`, missing parents are made."""
        todo = deque(components(path))
        trail: list[tuple[str, Node]] = [("", self.root)]
        links = 0
        while todo:
            name = todo.popleft()
            here = trail[-1][1]
            if here.kind is not FileKind.DIRECTORY:
                raise InvalidRequest(f"{path!a} goes through a file.", field="path")
            if name == "..":
                del trail[max(1, len(trail) - 1) :]
                continue
            node = here.children.get(name)
            if node is None:
                if not todo:
                    return Place(here, name, None)
                if not make:
                    raise NotFound("file", path)
                node = self.add(Place(here, name, None), FileKind.DIRECTORY, 0o755)
            if node.kind is FileKind.SYMLINK and (todo or follow):
                links += 1
                if links > MAX_LINKS:
                    raise InvalidRequest(f"{path!a} has too many links.", field="path")
                target = node.target or ""
                if target.startswith("/"):
                    del trail[1:]
                todo.extendleft(n for n in reversed(target.split("/")) if n not in ("", "."))
                continue
            trail.append((name, node))
        parent = trail[-2][1] if len(trail) > 1 else self.root
        return Place(parent, trail[-1][0], trail[-1][1])

    def get(self, path: str, *, follow: bool = True) -> Node:
        """What is at a path; `NotFound` when nothing is."""
        node = self.locate(path, follow=follow).node
        if node is None:
            raise NotFound("file", path)
        return node

    def file(self, path: str) -> Node:
        """A regular file; `InvalidRequest` when it is of another kind."""
        node = self.get(path)
        if node.kind is not FileKind.FILE:
            raise InvalidRequest(f"{path!a} is not a regular file.", field="path")
        return node

    def directory(self, path: str) -> Node:
        """A directory; `InvalidRequest` when it is of another kind."""
        node = self.get(path)
        if node.kind is not FileKind.DIRECTORY:
            raise InvalidRequest(f"{path!a} is not a directory.", field="path")
        return node

    def room(self, more_bytes: int, more_files: int = 0) -> None:
        """Raise `QuotaExceeded` unless that much more would fit."""
        over = self.used_bytes + more_bytes > self._limits.disk_bytes
        if over or self.used_files + more_files > self._limits.disk_files:
            raise QuotaExceeded("The disk of the sandbox is full.")

    def add(
        self, place: Place, kind: FileKind, mode: int, data: bytes = b"", target: str | None = None
    ) -> Node:
        """Make or replace what is at a place, at once."""
        old = place.node
        freed = len(old.data) if old is not None else 0
        self.room(len(data) - freed, 1 if old is None else 0)
        node = self._node(kind, mode)
        node.data, node.target = data, target
        place.parent.children[place.name] = node
        place.parent.mtime_ns = node.mtime_ns
        self.used_bytes += len(data) - freed
        self.used_files += 1 if old is None else 0
        self._tell(place.parent, "created" if old is None else "modified", place.name)
        return node

    def append(self, path: str, data: bytes) -> None:
        """Add to the end of a file that exists, as a program does."""
        self.room(len(data))
        node = self.file(path)
        node.data += data
        node.mtime_ns = self._now()
        self.used_bytes += len(data)
        place = self.locate(path)
        self._tell(place.parent, "modified", place.name)

    def discard(self, place: Place) -> None:
        """Take away what is at a place with all that is beneath."""
        node = place.parent.children.pop(place.name)
        place.parent.mtime_ns = self._now()
        for _, each in walk(node, place.name):
            self.used_bytes -= len(each.data)
            self.used_files -= 1
        self._tell(place.parent, "removed", place.name)

    def move(self, source: Place, target: Place) -> Node:
        """Rename; what was at the target is gone."""
        if target.node is not None:
            self.discard(target)
        node = source.parent.children.pop(source.name)
        target.parent.children[target.name] = node
        source.parent.mtime_ns = target.parent.mtime_ns = self._now()
        self._tell(source.parent, "removed", source.name)
        self._tell(target.parent, "created", target.name)
        return node

    def watch(self, path: str, heard: Callable[[Change], None]) -> Callable[[], None]:
        """Call `heard` with each change in a directory, until the returned function is called."""
        entry = (self.directory(path), absolute(path), heard)
        self._watchers.append(entry)
        return lambda: self._watchers.remove(entry) if entry in self._watchers else None

    def _tell(self, parent: Node, kind: str, name: str) -> None:
        for node, path, heard in tuple(self._watchers):
            if node is parent:
                heard(Change(kind, f"{path.rstrip('/')}/{name}"))

    def _node(self, kind: FileKind, mode: int) -> Node:
        self._inodes += 1
        return Node(kind, mode & 0o7777, self._inodes, self._now())

    def _now(self) -> int:
        self._last_ns = max(self._last_ns + 1, self._clock())
        return self._last_ns


def fresh(limits: Limits, hostname: str) -> Tree:
    """What a new sandbox begins with; it does not count towards the quota."""
    tree = Tree(limits)
    for directory in (WORKSPACE, "/tmp", "/bin", "/usr/bin", "/etc", "/dev"):
        tree.add(tree.locate(directory, make=True), FileKind.DIRECTORY, 0o755)
    tree.add(tree.locate("/etc/hostname"), FileKind.FILE, 0o644, f"{hostname}\n".encode())
    for device in ("/dev/null", "/dev/zero"):
        tree.add(tree.locate(device), FileKind.OTHER, 0o666)
    tree.used_bytes = tree.used_files = 0
    return tree


def describe(path: str, node: Node) -> Stat:
    """The node as the caller sees it."""
    size = len(os.fsencode(node.target)) if node.target is not None else len(node.data)
    return Stat(path, node.kind, size, node.mode, node.mtime_ns, node.inode, node.target)


def walk(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    """The node and all beneath it, parents first, sorted by name."""
    yield path, node
    for name in sorted(node.children):
        yield from walk(node.children[name], f"{path}/{name}")


def _deep(node: Node) -> Node:
    twin = copy(node)
    twin.children = {name: _deep(child) for name, child in node.children.items()}
    return twin
