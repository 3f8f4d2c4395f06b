"""The seams. A backend is five members, a sandbox three, a process six; rare powers are extra.

Implementations are proved by the public suites in `atoll.testing`.
"""

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Protocol, runtime_checkable

from atoll.core.images import Collected, Image, Progress
from atoll.core.model import (
    BackendReport,
    Change,
    Channel,
    Exit,
    ProcessSpec,
    SandboxSpec,
    Stat,
)


class Process(Protocol):
    """One started program. Dies with its sandbox."""

    @property
    def pid(self) -> int:
        """Number inside the sandbox, unique while the sandbox is open."""
        ...

    def output(self) -> AsyncGenerator[tuple[Channel, bytes], None]:
        """Yield what the program writes, as it writes it, byte for byte, then stop.

        May be iterated once. Ends when every writer of the pipes is gone or, at the latest,
        shortly after the program has exited. Chunks are at most 64 KiB.
        """
        ...

    async def write_stdin(self, data: bytes) -> None:
        """Feed the program; waits while the pipe is full.

        Raises `Conflict` when it has no stdin or has closed it.
        """
        ...

    async def close_stdin(self) -> None:
        """End of file for the program. Idempotent. On a tty sends ctrl-D."""
        ...

    async def signal(self, number: int) -> None:
        """Send a signal to the program and its process group; nothing once it has ended."""
        ...

    async def resize(self, rows: int, cols: int) -> None:
        """Tell the terminal its size; `Conflict` when the process has no tty."""
        ...

    async def wait(self) -> Exit:
        """Wait for the end. Every limit is enforced whether or not anybody waits or reads."""
        ...


class Files(Protocol):
    """A sandbox's files. Paths are absolute, or relative to `/workspace`.

    Nothing a guest plants (links, pipes, devices, odd names, deep trees) leads outside the
    sandbox or blocks the caller. Raises `NotFound`, `InvalidRequest` (the path cannot be one, or
    is of the wrong kind), `Conflict` (exists, not empty), `QuotaExceeded` (disk), `TooLarge`.
    """

    async def stat(self, path: str) -> Stat: ...

    def list(self, path: str, *, depth: int = 1) -> AsyncGenerator[Stat, None]:
        """The entries beneath a directory, sorted by path within each directory."""
        ...

    def read(
        self, path: str, *, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a regular file, following links inside the sandbox."""
        ...

    async def write(
        self,
        path: str,
        data: bytes | AsyncIterable[bytes],
        *,
        mode: int = 0o644,
        if_match: str | None = None,
    ) -> Stat:
        """Create or replace a file whole: readers see the old content or the new, never half.

        Missing parents are made. `if_match` is an etag that must still hold, or "*" for "must
        exist", or "" for "must not exist"; else `PreconditionFailed`.
        """
        ...

    async def mkdir(self, path: str, *, mode: int = 0o755, parents: bool = True) -> Stat: ...

    async def move(self, source: str, target: str, *, overwrite: bool = False) -> Stat: ...

    async def remove(self, path: str, *, recursive: bool = False) -> None: ...

    def pack(self, path: str, *, dotted: bool = False) -> AsyncGenerator[bytes, None]:
        """A tar stream of everything beneath a directory (or of one file).

        With `dotted` the directory is the first entry, `.`, and the others begin with `./`.
        """
        ...

    async def unpack(self, path: str, data: AsyncIterable[bytes], *, whole: bool = False) -> int:
        """Unpack a tar or tar.gz stream beneath a directory; the number of entries made.

        Refuses (`InvalidRequest`) entries that leave the directory, devices, and links that lead
        out of it. What came before the refused entry stays; with `whole` nothing does, and
        nothing is changed before all has come.
        """
        ...


class Sandbox(Protocol):
    """An open sandbox. Lives inside the `async with` of `Backend.open`."""

    @property
    def id(self) -> str: ...

    @property
    def files(self) -> Files: ...

    async def start(self, spec: ProcessSpec) -> Process:
        """Start a program. Raises `InvalidRequest` when it is not there or not executable.

        `BackendFault` when the sandbox itself has died.
        """
        ...


class Backend(Protocol):
    """A kind of isolation."""

    @property
    def name(self) -> str: ...

    async def probe(self) -> BackendReport:
        """What holds on this host. Cheap after the first call, raises nothing."""
        ...

    def open(self, spec: SandboxSpec) -> AbstractAsyncContextManager[Sandbox]:
        """A sandbox for the length of the block; nothing survives it but a persistent one's files.

        Holds under error and cancellation at every await. `Unavailable` when the host cannot,
        `NotFound` when the image or the base is unknown, `Conflict` when that id is open already.
        """
        ...

    async def owned(self) -> Sequence[str]:
        """Ids of everything this backend still holds on this host, open or only on disk."""
        ...

    async def destroy(self, sandbox_id: str) -> None:
        """Remove whatever is left of it: processes, mounts, cgroups, files. Idempotent."""
        ...


@runtime_checkable
class Ended(Protocol):
    """A sandbox that can say when it has died on its own (its init was killed)."""

    async def ended(self) -> str:
        """Wait until it has died, and say why in a word: `memory`, `crash`."""
        ...


@runtime_checkable
class Settles(Protocol):
    """Files in which unpacking `whole` can be interrupted by the end of everything."""

    async def settle(self) -> int:
        """Bring to an end what unpacked `whole` when everything was killed; how many there were.

        Each is there afterwards, or has never been. Not while one is under way.
        """
        ...


@runtime_checkable
class Watches(Protocol):
    """A sandbox whose files can be watched."""

    def watch(self, path: str) -> AsyncGenerator[Change, None]:
        """Changes in a directory (not its subdirectories) from now on."""
        ...


class Connection(Protocol):
    """A stream of bytes to a program in a sandbox, that listens there. Close it.

    All but `aclose` raise `ConnectionError` when it was broken off.
    """

    async def receive(self, most: int = 65_536) -> bytes:
        """What has come, or the next that comes; nothing at the end."""
        ...

    async def send(self, data: bytes) -> None:
        """Send all of it; waits while the program does not read."""
        ...

    async def end(self) -> None:
        """There is no more to be sent; more may come. Idempotent."""
        ...

    async def aclose(self) -> None:
        """Let go of it. Idempotent."""
        ...


@runtime_checkable
class Dials(Protocol):
    """A sandbox whose own loopback can be connected to, also where it has no network."""

    async def dial(self, port: int) -> Connection:
        """Connect to what listens on 127.0.0.1 or ::1 in the sandbox. `NotListening`."""
        ...


@runtime_checkable
class RunsModules(Protocol):
    """A sandbox for which `ProcessSpec.function` and `ProcessSpec.fuel` mean something."""

    @property
    def engine(self) -> str:
        """What runs WebAssembly modules, and its version."""
        ...


@runtime_checkable
class Compiles(Protocol):
    """A backend that compiles WebAssembly modules, apart from everything, and keeps the code."""

    async def compile(self, data: bytes, *, fuel: bool) -> str:
        """The name of a module's code. Raises `InvalidRequest` for what is no module."""
        ...

    async def compiled(self, name: str) -> bytes | None:
        """The code of that name; None when it is gone."""
        ...


@runtime_checkable
class Rearmable(Protocol):
    """A process whose limits can begin anew: one that was started before it was needed."""

    def rearm(self, spec: ProcessSpec) -> None:
        """From now on `wall_s`, `cpu_s` and `output_bytes` of that, for what is yet to come."""
        ...

    def rest(self) -> Sequence[tuple[Channel, bytes]]:
        """What it has written and nobody has read yet. Its output ends with that."""
        ...


@runtime_checkable
class Pausable(Protocol):
    """A sandbox whose processes can be frozen. Both are idempotent.

    While it is paused no time passes for its processes (`wall_s` stands still) and none can be
    started (`Conflict`). It can be closed and destroyed as it is.
    """

    async def pause(self) -> None:
        """Returns when everything stands still."""
        ...

    async def resume(self) -> None: ...


@runtime_checkable
class Snapshots(Protocol):
    """A backend that freezes the files of a persistent sandbox. The sandbox must be closed.

    Constant time, whatever the size of the files. `SandboxSpec.base` begins from one. A fork is
    a snapshot, a sandbox opened from it, and the snapshot dropped: layers are kept while used.
    """

    async def snapshot(self, sandbox_id: str, snapshot_id: str) -> None: ...

    async def drop_snapshot(self, snapshot_id: str) -> None:
        """Forget it; its layers go when nothing uses them any more. Idempotent."""
        ...

    async def snapshot_size(self, snapshot_id: str) -> int:
        """Bytes that it holds on disk, shared layers included."""
        ...

    async def snapshots(self) -> Sequence[str]: ...


@runtime_checkable
class Archives(Protocol):
    """A backend that packs the files of a persistent sandbox, so that they take less room.

    The sandbox must be closed, and until it is restored it cannot be opened or frozen
    (`Conflict`). Killed at any moment, the files are there as they are or packed, never in between.
    """

    async def pack(self, sandbox_id: str) -> str:
        """Make a pack of its files, which stay; its name. Takes as long as they are large.

        `BackendFault` when it cannot be made. `NotFound`.
        """
        ...

    async def put_away(self, sandbox_id: str, pack: str) -> None:
        """Let a pack take the place of the files, if they are still what was packed. Brief."""
        ...

    async def drop_pack(self, pack: str) -> None:
        """Forget a pack that took no place. Idempotent."""
        ...

    async def restore(self, sandbox_id: str) -> None:
        """Unpack its files; nothing when they are not packed. Takes as long as they are large."""
        ...


class ImageRoots(Protocol):
    """Where a backend finds the layers of images. Its methods block, briefly."""

    @property
    def layers(self) -> str:
        """The host's directory that `Image.layers` are names in; it exists."""
        ...

    def use(self, reference: str) -> AbstractContextManager[Image]:
        """The image of a pinned reference, not collected within the block. `NotFound`."""
        ...


class ImageNames(Protocol):
    """What names of images mean here."""

    async def resolve(self, name: str) -> str:
        """The host image, or a pinned reference. `InvalidRequest` that says what to do."""
        ...

    def detect(self, argv: Sequence[str]) -> str:
        """The name of the image that a command is meant for; the host image for most."""
        ...


class Images(Protocol):
    """The images that are here."""

    async def list(self) -> Sequence[Image]: ...

    async def pull(self, name: str, told: Callable[[Progress], None]) -> Image:
        """Make or update the image of that name. What an interruption leaves is used again."""
        ...

    async def remove(self, name: str) -> None:
        """Forget a name; the image goes with the next collection, once nothing uses it."""
        ...

    async def collect(self, used: Collection[str]) -> Collected:
        """Remove what no name, none of the pinned references `used` and nothing open needs."""
        ...


@runtime_checkable
class LoadsImages(Protocol):
    """Images that can also be made from a file."""

    async def load(self, name: str, archive: str) -> Image:
        """Make or update the image of that name from a tar, a file of the host.

        `InvalidRequest` for what is no tar of a root file system.
        """
        ...
