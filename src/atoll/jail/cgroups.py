"""Bounds on memory, processes and CPU of a whole sandbox, in cgroup v1 or v2 as the host has it.

Groups are `<our own cgroup>/atoll-<instance>/<sandbox id>`. What runs in a sandbox enters them
itself, by writing "0" to a descriptor that the server opened: the kernel checks the opener's
rights, and moving oneself takes no lock that another sandbox's fork holds.
"""

import contextlib
import os
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from atoll.core.model import Limits

ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000
# Workers that serve the client live in the same groups as the guest.
SPARE_PROCESSES = 8
_V1 = ("memory", "pids", "cpu", "cpuacct")
_FREEZER = "freezer"


@dataclass(frozen=True)
class Hierarchy:
    """Where groups are made: `base` per controller. Version 0 means that there are none.

    `freezer` is where sandboxes can be made to stand still; none where that cannot be.
    """

    version: int
    bases: Mapping[str, Path] = field(default_factory=dict[str, Path])
    why: str = ""
    freezer: Path | None = None

    def has(self, controller: str) -> bool:
        """Whether that controller bounds sandboxes here."""
        return controller in self.bases


def detect(instance: str, root: Path = ROOT, own: Path = Path("/proc/self/cgroup")) -> Hierarchy:
    """Find, and make, the groups beneath which this server's sandboxes live."""
    try:
        mine = dict(_own(own))
    except OSError as error:
        return Hierarchy(0, why=f"cannot read {own}: {error.strerror}")
    bases: dict[str, Path] = {}
    locked = ""
    for controller in (*_V1, _FREEZER):
        if controller in mine and (root / controller / "tasks").exists():
            base = root / controller / mine[controller].lstrip("/") / f"atoll-{instance}"
            with contextlib.suppress(OSError):
                base.mkdir(exist_ok=True)
                if os.access(base, os.W_OK):
                    bases[controller] = base
            if controller not in bases:
                locked = f"cgroup v1 is mounted, but uid {os.geteuid()} may not make groups in it"
    freezer = bases.pop(_FREEZER, None)
    if "pids" in bases or "memory" in bases:
        return Hierarchy(1, bases, freezer=freezer)
    unified = _unified(instance, root, mine.get("", "/"))
    return replace(unified, why=locked) if locked and not unified.version else unified


def _own(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().splitlines():
        _, controllers, place = line.split(":", 2)
        for name in controllers.split(","):
            yield name, place


def _unified(instance: str, root: Path, place: str) -> Hierarchy:
    """Version 2: the server moves to a leaf, since a group with processes has no subgroups."""
    own = root / place.lstrip("/")
    try:
        offered = (own / "cgroup.controllers").read_text().split()
    except OSError:
        return Hierarchy(0, why="neither cgroup v1 controllers nor cgroup v2 are mounted")
    wanted = [name for name in ("memory", "pids", "cpu") if name in offered]
    if not wanted:
        return Hierarchy(0, why=f"cgroup v2 delegates no memory, pids or cpu to {place}")
    switch = " ".join(f"+{name}" for name in wanted)
    base = own / f"atoll-{instance}"
    try:
        leaf = own / f"atoll-{instance}-server"
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
        (own / "cgroup.subtree_control").write_text(switch)
        base.mkdir(exist_ok=True)
        (base / "cgroup.subtree_control").write_text(switch)
    except OSError as error:
        return Hierarchy(0, why=f"cgroup v2 at {place} cannot be divided: {error.strerror}")
    return Hierarchy(2, dict.fromkeys(wanted, base), freezer=base)


class Group:
    """The groups of one sandbox, from `make` to `remove` after its last process."""

    def __init__(self, hierarchy: Hierarchy, name: str) -> None:
        self._hierarchy = hierarchy
        self._paths = {key: str(base / name) for key, base in hierarchy.bases.items()}
        self._frozen = [] if hierarchy.freezer is None else [str(hierarchy.freezer / name)]
        entry = "tasks" if hierarchy.version == 1 else "cgroup.procs"
        self._entries = [f"{path}/{entry}" for path in dict.fromkeys(self._paths.values())]

    def make(self, limits: Limits) -> None:
        """Create with limits."""
        try:
            for path in dict.fromkeys(self._paths.values()):
                _make(path)
            for controller, name, value in self._settings(limits):
                _put(f"{self._paths[controller]}/{name}", value)
        except OSError:
            self.remove()
            raise

    @contextlib.contextmanager
    def entries(self) -> Generator[list[int]]:
        """Descriptors to enter by: a process writes "0" to each."""
        fds: list[int] = []
        try:
            for path in self._entries:
                fds.append(os.open(path, os.O_WRONLY | os.O_CLOEXEC))  # noqa: PERF401
            yield fds
        finally:
            for fd in fds:
                os.close(fd)

    def _settings(self, limits: Limits) -> Iterator[tuple[str, str, str]]:
        processes = str(limits.processes + SPARE_PROCESSES)
        quota = max(1000, int(limits.cpus * _PERIOD_US))
        one = self._hierarchy.version == 1
        if "memory" in self._paths:
            name = "memory.limit_in_bytes" if one else "memory.max"
            yield "memory", name, str(limits.memory_bytes)
        if "pids" in self._paths:
            yield "pids", "pids.max", processes
        if "cpu" in self._paths and one:
            yield "cpu", "cpu.cfs_quota_us", str(quota)
        elif "cpu" in self._paths:
            yield "cpu", "cpu.max", f"{quota} {_PERIOD_US}"

    def oom_kills(self) -> int:
        """How often the kernel killed for memory in here."""
        if self._hierarchy.version == 1:
            return self._counter("memory", "memory.oom_control", "oom_kill")
        return self._counter("memory", "memory.events", "oom_kill")

    def pids_refused(self) -> int:
        """How often a fork failed for the limit."""
        return self._counter("pids", "pids.events", "max")

    def cpu_s(self) -> float | None:
        """Processor time of all that ever ran in here; None where nothing counts it."""
        with contextlib.suppress(KeyError, OSError, ValueError, IndexError):
            if self._hierarchy.version == 1:
                return int(_get(f"{self._paths['cpuacct']}/cpuacct.usage")) / 1e9
            for path in self._paths.values():  # version 2 counts it in every group
                return int(_get(f"{path}/cpu.stat").partition("usage_usec ")[2].split()[0]) / 1e6
        return None

    def peak_bytes(self) -> int:
        """The most memory it held at once, 0 where nothing counts it."""
        one = self._hierarchy.version == 1
        name = "memory.max_usage_in_bytes" if one else "memory.peak"
        with contextlib.suppress(KeyError, OSError, ValueError):
            return int(_get(f"{self._paths['memory']}/{name}"))
        return 0

    def _counter(self, controller: str, name: str, key: str) -> int:
        with contextlib.suppress(KeyError, OSError, ValueError):
            for line in _get(f"{self._paths[controller]}/{name}").splitlines():
                word, _, value = line.partition(" ")
                if word == key:
                    return int(value)
        return 0

    def remove(self) -> bool:
        """Remove the groups; False when something is still in one of them."""
        gone = True
        for path in dict.fromkeys([*self._paths.values(), *self._frozen]):
            try:
                os.rmdir(path)
            except FileNotFoundError:
                continue
            except OSError:
                gone = False
        return gone


def stale(hierarchy: Hierarchy) -> list[str]:
    """Names of the groups that exist beneath the bases, whoever made them."""
    names: set[str] = set()
    for base in _places(hierarchy):
        with contextlib.suppress(OSError):
            names.update(entry.name for entry in os.scandir(base) if entry.is_dir())
    return sorted(names)


def retire(hierarchy: Hierarchy) -> None:
    """Remove what `detect` made, and the empty groups that a killed server left in it."""
    for name in stale(hierarchy):
        Group(hierarchy, name).remove()
    for base in _places(hierarchy):
        with contextlib.suppress(OSError):
            base.rmdir()


def _places(hierarchy: Hierarchy) -> set[Path]:
    freezer = set[Path]() if hierarchy.freezer is None else {hierarchy.freezer}
    return {*hierarchy.bases.values(), *freezer}


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return
    except FileNotFoundError:  # somebody has tidied up above us
        os.makedirs(path, 0o755, exist_ok=True)


def _put(path: str, value: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def _get(path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 64 * 1024).decode()
    finally:
        os.close(fd)
