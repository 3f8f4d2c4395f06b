"""What a server holds on the host, seen from outside: processes, mounts, groups, descriptors."""

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_SLACK = 4
_PATIENCE_S = 10.0


def descendants(pid: int) -> set[int]:
    """The processes that descend from that one."""
    above: dict[int, int] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            above[int(name)] = int(fields[1])
    found: set[int] = set()
    for one in above:
        current = one
        while current in above and current != pid:
            current = above[current]
        if current == pid and one != pid:
            found.add(one)
    return found


def groups(data: Path) -> set[str]:
    """Every group of the servers that ran on that data directory."""
    place = os.fsencode((data / "namespace").resolve())
    name = f"atoll-{hashlib.sha256(place).hexdigest()[:10]}"
    # Not glob, which cannot stand that groups come and go meanwhile.
    return {path for path, _, _ in os.walk(CGROUPS) if f"/{name}" in path}


def wait_for_groups(data: Path, before: set[str]) -> None:
    """Fail unless there soon are no more sandboxes with groups than before, or a few."""
    _soon(lambda: max(0, _named(groups(data)) - _named(before) - _SLACK))


def _named(paths: set[str]) -> int:
    return len({Path(path).name for path in paths})


def of_networks(data: Path) -> list[str]:
    """Links, tables and places of the servers that ran on that data directory."""
    owner = hashlib.sha256(os.fsencode(data.resolve())).hexdigest()
    links = [name for name in os.listdir("/sys/class/net") if name.startswith(f"at{owner[:7]}.")]
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True)
    places = Path("/run/atoll/network")
    held = [each.name for each in places.iterdir() if each.read_text() == owner]
    return links + held + [line for line in tables.stdout.splitlines() if owner[:7] in line]


def mounts() -> int:
    """The host's mounts."""
    return len(Path("/proc/self/mountinfo").read_text().splitlines())


def wait_until_gone(pids: set[int]) -> None:
    """Fail unless those processes soon end."""
    _soon(lambda: sorted(pid for pid in pids if Path(f"/proc/{pid}").exists()))


@dataclass(frozen=True)
class Leftovers:
    """What one server holds; a count to come back to."""

    mounts: int
    descriptors: int
    children: int

    @classmethod
    def of(cls, pid: int) -> "Leftovers":
        """The server as it is."""
        return cls(mounts(), len(os.listdir(f"/proc/{pid}/fd")), len(descendants(pid)))

    def wait_for_no_more_than(self, pid: int) -> None:
        """Fail unless that server soon holds no more than it did, give or take a few."""
        _soon(lambda: max(0, len(os.listdir(f"/proc/{pid}/fd")) - self.descriptors - _SLACK))
        _soon(lambda: max(0, len(descendants(pid)) - self.children - _SLACK))
        assert mounts() <= self.mounts


def check_ended(data: Path, pids: set[int], mounts_before: int) -> None:
    """Fail when anything of servers that have ended is still on the host."""
    wait_until_gone(pids)
    _soon(lambda: sorted(groups(data)))
    assert mounts() <= mounts_before


def check_directory(data: Path, living: set[str]) -> None:
    """Fail when the disk holds a sandbox or a layer that no record names."""

    def stray() -> object:
        boxes = {path.stem for path in (data / "namespace/boxes").glob("*.json")}
        used: set[str] = set()
        for kind in ("boxes", "frozen"):
            for path in (data / "namespace" / kind).glob("*.json"):
                record = json.loads(path.read_text())
                used |= {*record["layers"], record.get("upper", "")}
        layers = set(os.listdir(data / "namespace/layers"))
        return (boxes - living) or (layers - used) or os.listdir(data / "namespace/trash")

    _soon(stray, patience_s=90.0)


def _soon(stray: Callable[[], object], patience_s: float = _PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while found := stray():
        assert time.monotonic() < deadline, f"left over: {found}"
        time.sleep(0.1)  # waits on purpose: the kernel, or the janitor, takes its time
