"""The values that cross the waist: what to open, what to start, how it ended.

Every field that is a quantity carries its unit in its name. Limits are always finite.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

MIB = 1024 * 1024
WORKSPACE = "/workspace"


class Isolation(IntEnum):
    """How strong a backend is. A request names the least it accepts; the server never weakens."""

    SHARED_KERNEL = 1
    INTERPOSED = 2
    VIRTUAL_MACHINE = 3


class Channel(StrEnum):
    """Where output came from. With a tty everything is STDOUT."""

    STDOUT = "stdout"
    STDERR = "stderr"


class ExitReason(StrEnum):
    """Why a process ended. Each limit has a reason of its own."""

    EXITED = "exited"
    SIGNAL = "signal"
    WALL_TIME = "wall_time"
    CPU_TIME = "cpu_time"
    MEMORY = "memory"
    OUTPUT = "output"
    PIDS = "pids"
    DISK = "disk"
    OPEN_FILES = "open_files"
    TRAP = "trap"
    FUEL = "fuel"
    INVALID = "invalid"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a whole sandbox. Memory and processes count the whole tree of processes."""

    memory_bytes: int = 512 * MIB
    cpus: float = 1.0
    processes: int = 128
    disk_bytes: int = 512 * MIB
    disk_files: int = 65_536
    open_files: int = 1024


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """What a sandbox may reach. `none` is a loopback interface of its own and nothing else."""

    mode: str = "none"
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What to open.

    `persistent` sandboxes keep their files when closed, and `open` with the same id finds them
    again; others leave nothing. `base` names a snapshot whose files a new sandbox begins with.
    With `read_only_root` programs write to the sandbox's own directories only: `/workspace`, the
    home, `/tmp`, `/var/tmp`, `/run`, `/dev/shm`.
    """

    id: str
    image: str = "host"
    limits: Limits = field(default_factory=Limits)
    network: NetworkPolicy = field(default_factory=NetworkPolicy)
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    preload: tuple[str, ...] = ()
    persistent: bool = False
    base: str | None = None
    hostname: str = "sandbox"
    read_only_root: bool = False


@dataclass(frozen=True, slots=True)
class TtySize:
    """A terminal's size in character cells."""

    rows: int = 24
    cols: int = 80


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One program to start.

    `argv[0]` is looked up on the sandbox's PATH. `env` is laid over the sandbox's own. `files`
    (paths relative to `cwd`, or absolute) are written before the program starts, with mode 0644.
    `wall_s` and `cpu_s` bound the process and everything it started; `output_bytes` bounds
    stdout and stderr together: past it the output is cut and the process ends with `OUTPUT`. With
    `keep_bytes` that much of each channel is kept instead, the rest is thrown away, and it goes on.
    `secrets` are the names of variables whose values must not be written down.
    Without `stdin` the program reads end-of-file at once. `function` calls that export of a
    WebAssembly module with the rest of `argv` as its arguments; `fuel` bounds its instructions.
    """

    argv: tuple[str, ...]
    cwd: str = WORKSPACE
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    stdin: bool = False
    tty: TtySize | None = None
    wall_s: float = 30.0
    cpu_s: float = 30.0
    output_bytes: int = 8 * MIB
    keep_bytes: int | None = None
    function: str | None = None
    fuel: int | None = None
    secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its children used. Zero where the backend cannot measure it."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended. `code` is None unless the program itself chose one.

    `detail` says more of the reason, such as the name of a trap. `results` are what a called
    `function` returned; numbers that JSON has no word for are strings.
    """

    code: int | None
    reason: ExitReason
    signal: int | None = None
    truncated: bool = False
    usage: Usage = field(default_factory=Usage)
    detail: str = ""
    results: tuple[int | float | str | None, ...] = ()


class FileKind(StrEnum):
    """What a path is. Links are reported, never followed by `stat` and `list`."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Stat:
    """One path in a sandbox. `name` may hold surrogate escapes when it is not UTF-8."""

    path: str
    kind: FileKind
    size: int
    mode: int
    mtime_ns: int
    inode: int = 0
    target: str | None = None

    @property
    def etag(self) -> str:
        """A strong validator: changes whenever the content may have."""
        return f'"{self.inode:x}-{self.mtime_ns:x}-{self.size:x}"'


@dataclass(frozen=True, slots=True)
class Change:
    """Something happened to a path beneath a watched directory."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class BackendReport:
    """What a backend can do on this host. `why` is a sentence when it is not usable."""

    name: str
    usable: bool
    isolation: Isolation
    why: str = ""
    capabilities: frozenset[str] = frozenset()
    limits: Mapping[str, str] = field(default_factory=dict[str, str])
    facts: Mapping[str, str] = field(default_factory=dict[str, str])
