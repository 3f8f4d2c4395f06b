"""Which control groups are here, and whether we may make our own."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atoll.cli.doctor.finding import Finding, State

_NEEDED = ("memory", "pids", "cpu")


@dataclass(frozen=True, slots=True)
class _Hierarchy:
    version: int
    mount: Path
    controllers: tuple[str, ...]
    own: Path


def probe() -> list[Finding]:
    """Memory, process and cpu limits over whole trees of processes, by v2 or by v1."""
    hierarchies = _hierarchies()
    able: dict[str, int] = {}
    for each in hierarchies:
        if not _can_make_child(each):
            continue
        for controller in each.controllers:
            able.setdefault(controller, each.version)
    return [_overall(hierarchies, able)]


def _overall(hierarchies: list[_Hierarchy], able: dict[str, int]) -> Finding:
    seen = "; ".join(_seen(hierarchies))
    usable = [name for name in _NEEDED if name in able]
    missing = [name for name in _NEEDED if name not in able]
    how = (
        "run as root, or under systemd with Delegate=yes "
        "(systemd-run --user --scope -p Delegate=yes atoll serve)"
    )
    if not usable:
        return Finding(
            "control groups",
            State.NO,
            f"{seen or 'none mounted'}; none that we may write",
            "memory and process limits hold per process by rlimits, not for the whole sandbox",
            how,
        )
    versions = "/".join(sorted({f"v{able[name]}" for name in usable}))
    detail = f"{seen}; we may make groups for {', '.join(usable)} ({versions})"
    if missing:
        return Finding(
            "control groups",
            State.PARTLY,
            detail,
            f"limits of {', '.join(missing)} fall back to rlimits",
            how,
        )
    return Finding(
        "control groups",
        State.YES,
        detail,
        "memory, cpu and process limits count the whole tree of a sandbox",
    )


def _seen(hierarchies: list[_Hierarchy]) -> Iterator[str]:
    for version in (1, 2):
        same = [each for each in hierarchies if each.version == version]
        controllers = [name for each in same for name in each.controllers]
        if same:
            yield f"v{version} with {', '.join(controllers) or 'no controllers'}"


def _hierarchies() -> list[_Hierarchy]:
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    places = _own_places(own)
    return [found for line in mounts if (found := _hierarchy(line, places)) is not None]


def _own_places(lines: list[str]) -> dict[str, str]:
    """Controller (or "" for v2) to the path of our own group in that hierarchy."""
    places: dict[str, str] = {}
    for line in lines:
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            places[name] = path
    return places


def _hierarchy(line: str, places: dict[str, str]) -> _Hierarchy | None:
    left, _, right = line.partition(" - ")
    root, target = left.split()[3:5]
    kind, _, options = right.split(maxsplit=2)
    mount = Path(target)
    if kind == "cgroup2":
        own = _beneath(mount, root, places.get("", "/"))
        return _Hierarchy(2, mount, _v2_controllers(own), own)
    if kind == "cgroup":
        controllers = tuple(name for name in options.split(",") if name in places)
        if not controllers:
            return None
        own = _beneath(mount, root, places[controllers[0]])
        return _Hierarchy(1, mount, controllers, own)
    return None


def _beneath(mount: Path, root: str, path: str) -> Path:
    inside = path.removeprefix(root.rstrip("/")).lstrip("/")
    own = mount / inside
    return own if own.is_dir() else mount


def _v2_controllers(own: Path) -> tuple[str, ...]:
    try:
        return tuple((own / "cgroup.controllers").read_text(encoding="ascii").split())
    except OSError:
        return ()


def _can_make_child(hierarchy: _Hierarchy) -> bool:
    group = hierarchy.own / f"atoll-doctor-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        procs = group / "cgroup.procs"
        return os.access(procs, os.W_OK)
    finally:
        group.rmdir()
