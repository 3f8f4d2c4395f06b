"""The files of a session. Its `/x` is the sandbox's `/workspace/x`."""

import base64
import binascii
from collections.abc import AsyncIterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from atoll.core.errors import AtollError, InvalidRequest, NotFound
from atoll.core.model import WORKSPACE, FileKind, Stat
from atoll.dialects.wasmrun.errors import BadRequest, NothingThere
from atoll.dialects.wasmrun.sessions import Session
from atoll.service.caller import Caller
from atoll.service.files import FilesOf

DEEPEST = 64
MOST_ENTRIES = 100_000
READ_BYTES = 64 * 1024 * 1024
_NO_ENTRY = "No such file or directory (os error 2)"
_IS_DIRECTORY = "Is a directory (os error 21)"
_NOT_DIRECTORY = "Not a directory (os error 20)"


def place(path: str) -> str:
    """The path in the sandbox. `BadRequest` where it leads up, or can be none."""
    if "\0" in path:
        raise BadRequest("Invalid path")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise BadRequest("Path traversal not allowed")
    return "/".join([WORKSPACE, *parts])


def content_of(text: str, encoding: str) -> bytes:
    """The bytes that a request means."""
    if encoding != "base64":
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise BadRequest("content is not valid Unicode") from None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("content is not valid base64") from None


@dataclass(frozen=True, slots=True)
class SessionFiles:
    """What a session's requests and its shell do with files."""

    files: FilesOf
    session: Session

    async def write(self, path: str, data: bytes) -> None:
        """Create or replace one; its parents are made."""
        where = place(path)
        if where == WORKSPACE:
            raise BadRequest(f"{path}: {_IS_DIRECTORY}")
        await self.check({where: len(data)})
        await self.files.write(self._who, self._box, where, data)
        self.session.disk_bytes = None

    async def read(self, path: str) -> bytes:
        """Its content; `NothingThere` also for a directory."""
        where = place(path)
        try:
            found = await self.files.stat(self._who, self._box, where)
            if found.kind is FileKind.DIRECTORY:
                raise NothingThere(f"{path}: {_IS_DIRECTORY}")
            return await self._all_of(where)
        except (NotFound, InvalidRequest) as error:
            _reraise_gone(error)
            raise NothingThere(f"{path}: {_NO_ENTRY}") from None

    async def raw(self, where: str, most: int) -> bytes:
        """The beginning of a file of the sandbox, of which this API has no path."""
        data = bytearray()
        reading = self.files.read(self._who, self._box, where, length=most)
        try:
            async with aclosing(reading) as chunks:
                async for chunk in chunks:
                    data += chunk
        except (NotFound, InvalidRequest):
            return b""
        return bytes(data)

    async def unpack(self, data: AsyncIterable[bytes]) -> None:
        """Unpack a tar stream at the root."""
        await self.files.unpack(self._who, self._box, WORKSPACE, data)
        self.session.disk_bytes = None

    async def list(self, path: str) -> Sequence[Stat]:
        """What is in a directory."""
        where = place(path)
        found: list[Stat] = []
        try:
            async with aclosing(self.files.list(self._who, self._box, where)) as entries:
                async for entry in entries:
                    found.append(entry)
                    if len(found) >= MOST_ENTRIES:
                        break
        except NotFound as error:
            _reraise_gone(error)
            raise NothingThere(f"{path}: {_NO_ENTRY}") from None
        except InvalidRequest:
            raise NothingThere(f"{path}: {_NOT_DIRECTORY}") from None
        return found

    async def stat(self, path: str) -> Stat | None:
        """One entry, or None."""
        try:
            return await self.files.stat(self._who, self._box, place(path))
        except NotFound as error:
            _reraise_gone(error)
            return None
        except InvalidRequest:
            return None

    async def is_directory(self, path: str) -> bool:
        """Whether there is a directory of that name."""
        found = await self.stat(path)
        return found is not None and found.kind is FileKind.DIRECTORY

    async def remove(self, path: str) -> None:
        """Delete one, a directory with all that is in it; the root itself stays, and is empty."""
        where = place(path)
        if where == WORKSPACE:
            for entry in await self.list("/"):
                await self.files.remove(self._who, self._box, entry.path, recursive=True)
        else:
            try:
                await self.files.remove(self._who, self._box, where, recursive=True)
            except NotFound as error:
                _reraise_gone(error)
                raise NothingThere(f"{path}: {_NO_ENTRY}") from None
        self.session.disk_bytes = None

    async def mkdir(self, path: str, *, parents: bool) -> None:
        """Make a directory."""
        await self.files.mkdir(self._who, self._box, place(path), parents=parents)

    async def move(self, source: str, target: str) -> None:
        """Rename, over what is there."""
        await self.files.move(self._who, self._box, place(source), place(target), overwrite=True)

    async def check(self, sizes: Mapping[str, int]) -> None:
        """Refuse what would be over a limit, before anything is written."""
        most = self.session.limits.file_bytes
        for size in sizes.values():
            if most is not None and size > most:
                raise BadRequest(f"File size limit exceeded: {size} bytes > {most} byte limit")
        room = self.session.limits.disk_bytes
        if room is None:
            return
        used = await self.used_bytes()
        if used + sum(sizes.values()) > room:
            used -= sum([await self._size(path) for path in sizes])
        total = used + sum(sizes.values())
        if total > room:
            raise BadRequest(f"Disk usage limit exceeded: {total} bytes > {room} byte limit")

    async def used_bytes(self) -> int:
        """What all files have together; counted again only after something has changed them."""
        if self.session.disk_bytes is None:
            total = 0
            listing = self.files.list(self._who, self._box, WORKSPACE, depth=DEEPEST)
            async with aclosing(listing) as entries:
                async for entry in entries:
                    total += entry.size if entry.kind is FileKind.FILE else 0
            self.session.disk_bytes = total
        return self.session.disk_bytes

    async def _size(self, where: str) -> int:
        found = await self.stat(where.removeprefix(WORKSPACE))
        return found.size if found is not None and found.kind is FileKind.FILE else 0

    async def _all_of(self, where: str) -> bytes:
        data = bytearray()
        reading = self.files.read(self._who, self._box, where, length=READ_BYTES + 1)
        async with aclosing(reading) as chunks:
            async for chunk in chunks:
                data += chunk
        if len(data) > READ_BYTES:
            raise BadRequest(f"File is too large to be read here: over {READ_BYTES} bytes")
        return bytes(data)

    @property
    def _who(self) -> Caller:
        return self.session.owner

    @property
    def _box(self) -> str:
        return self.session.sandbox_id


def _reraise_gone(error: AtollError) -> None:
    """A sandbox that is not there is another matter than a file."""
    if isinstance(error, NotFound) and error.kind == "sandbox":
        raise error
