"""Both versions of cgroups, on hierarchies made of plain files."""

import os
from pathlib import Path

import pytest

from atoll.core.model import Limits
from atoll.jail import cgroups
from atoll.jail.cgroups import Group, Hierarchy, detect, stale

LIMITS = Limits(memory_bytes=64 << 20, cpus=0.5, processes=10)
V1_FILES = {
    "memory": ("tasks", "memory.limit_in_bytes"),
    "pids": ("tasks", "pids.max"),
    "cpu": ("tasks", "cpu.cfs_quota_us"),
    "cpuacct": ("tasks",),
}
V2_FILES = ("cgroup.procs", "cgroup.subtree_control", "memory.max", "pids.max", "cpu.max")


def own(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "own"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


class Kernel:
    """Fills a new group with files, as the kernel does, and empties it when it is removed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.mkdir, self.rmdir = os.mkdir, os.rmdir
        self.busy: set[str] = set()
        monkeypatch.setattr(os, "mkdir", self.make)
        monkeypatch.setattr(os, "rmdir", self.remove)

    def make(self, path: str | Path, mode: int = 0o777) -> None:
        self.mkdir(path, mode)
        parts = Path(path).parts
        names = next((V1_FILES[part] for part in parts if part in V1_FILES), V2_FILES)
        for name in names:
            (Path(path) / name).touch()

    def remove(self, path: str) -> None:
        if path in self.busy:
            raise OSError(16, "Device or resource busy")
        if Path(path).is_dir():
            for file in Path(path).iterdir():
                file.unlink()
        self.rmdir(path)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(monkeypatch)


def v1(tmp_path: Path, *controllers: str) -> Hierarchy:
    root = tmp_path / "fs"
    for name in controllers:
        place = root / name / "here"
        place.mkdir(parents=True)
        (root / name / "tasks").touch()
    lines = [f"{n}:{name}:/here" for n, name in enumerate(controllers, 2)]
    return detect("i", root, own(tmp_path, *lines, "1:name=systemd:/x", "0::/here"))


def v2(tmp_path: Path, controllers: str | None, place: str = "/svc") -> Hierarchy:
    group = tmp_path / "fs" / place.lstrip("/")
    group.mkdir(parents=True)
    if controllers is not None:
        (group / "cgroup.controllers").write_text(controllers)
    return detect("i", tmp_path / "fs", own(tmp_path, f"0::{place}"))


# detection
def test_v1(tmp_path: Path) -> None:
    found = v1(tmp_path, "memory", "pids", "cpu", "cpuacct")
    assert found.version == 1
    assert found.bases["pids"] == tmp_path / "fs/pids/here/atoll-i"
    assert found.bases["pids"].is_dir()
    assert all(found.has(name) for name in V1_FILES)


def test_v1_controllers_that_share_a_mount(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    (root / "cpu,cpuacct" / "g").mkdir(parents=True)
    (root / "cpu,cpuacct" / "tasks").touch()
    for name in ("cpu", "cpuacct"):
        (root / name).symlink_to("cpu,cpuacct")
    (root / "memory" / "g").mkdir(parents=True)
    (root / "memory" / "tasks").touch()
    found = detect("i", root, own(tmp_path, "3:cpu,cpuacct:/g", "2:memory:/g"))
    assert found.version == 1
    assert set(found.bases) == {"memory", "cpu", "cpuacct"}


def test_v1_with_cpu_alone_bounds_nothing_that_matters(tmp_path: Path) -> None:
    found = v1(tmp_path, "cpu")
    assert found.version == 0
    assert "neither" in found.why


@pytest.mark.needs("rootless")
def test_v1_without_the_right_to_write(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    for name in ("memory", "pids"):
        (root / name / "here").mkdir(parents=True)
        (root / name / "tasks").touch()
        (root / name / "here").chmod(0o555)
    found = detect("i", root, own(tmp_path, "2:memory:/here", "3:pids:/here"))
    assert found.version == 0
    assert "may not make groups" in found.why


def test_v2_delegated(tmp_path: Path, kernel: Kernel) -> None:
    found = v2(tmp_path, "cpuset cpu io memory pids\n")
    assert found.version == 2
    assert set(found.bases) == {"memory", "pids", "cpu"}
    group = tmp_path / "fs/svc"
    assert (group / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (group / "atoll-i" / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (group / "atoll-i-server" / "cgroup.procs").read_text() == str(os.getpid())


def test_v2_delegated_in_part(tmp_path: Path, kernel: Kernel) -> None:
    found = v2(tmp_path, "cpuset pids\n")
    assert found.version == 2
    assert found.has("pids")
    assert not found.has("memory")


@pytest.mark.parametrize("controllers", ["", "cpuset io\n"])
def test_v2_not_delegated(tmp_path: Path, controllers: str) -> None:
    found = v2(tmp_path, controllers)
    assert found.version == 0
    assert "delegates no" in found.why


def test_v2_mounted_without_anything_in_it(tmp_path: Path) -> None:
    """As in some containers: /sys/fs/cgroup exists and is empty."""
    found = v2(tmp_path, None, "/")
    assert found.version == 0
    assert "neither" in found.why


def test_v2_whose_division_is_refused(tmp_path: Path) -> None:
    group = tmp_path / "fs/svc"
    group.mkdir(parents=True)
    (group / "cgroup.controllers").write_text("memory pids")
    (group / "atoll-i-server").touch()
    found = detect("i", tmp_path / "fs", own(tmp_path, "0::/svc"))
    assert found.version == 0
    assert found.why == "cgroup v2 at /svc cannot be divided: File exists"


def test_without_proc(tmp_path: Path) -> None:
    found = detect("i", tmp_path, tmp_path / "absent")
    assert found.version == 0
    assert "cannot read" in found.why


def test_a_line_of_a_cgroup_with_a_colon(tmp_path: Path) -> None:
    assert v2(tmp_path, "pids cpuset", "/a:b").version == 2


# a group
def entries(group: Group) -> list[str]:
    """The files through which processes enter; nothing stays open."""
    before = len(os.listdir("/proc/self/fd"))
    with group.entries() as fds:
        found = [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in fds]
    assert len(os.listdir("/proc/self/fd")) == before
    return found


def test_v1_settings(tmp_path: Path, kernel: Kernel) -> None:
    found = v1(tmp_path, "memory", "pids", "cpu", "cpuacct")
    group = Group(found, "sb_1")
    group.make(LIMITS)
    base = {name: found.bases[name] / "sb_1" for name in found.bases}
    assert (base["memory"] / "memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (base["pids"] / "pids.max").read_text() == str(10 + cgroups.SPARE_PROCESSES)
    assert (base["cpu"] / "cpu.cfs_quota_us").read_text() == "50000"
    assert sorted(entries(group)) == sorted(f"{path}/tasks" for path in base.values())
    assert group.remove()
    assert stale(found) == []


def test_v2_settings(tmp_path: Path, kernel: Kernel) -> None:
    found = v2(tmp_path, "cpu memory pids")
    group = Group(found, "sb_1")
    group.make(LIMITS)
    place = tmp_path / "fs/svc/atoll-i/sb_1"
    assert (place / "memory.max").read_text() == str(64 << 20)
    assert (place / "pids.max").read_text() == str(10 + cgroups.SPARE_PROCESSES)
    assert (place / "cpu.max").read_text() == "50000 100000"
    assert entries(group) == [f"{place}/cgroup.procs"]
    assert stale(found) == ["sb_1"]
    assert group.remove()


def test_a_group_that_cannot_be_set_leaves_nothing(tmp_path: Path) -> None:
    """Plain directories have no files to set."""
    found = v2(tmp_path, "pids")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError):
        Group(found, "sb_1").make(LIMITS)
    assert stale(found) == []
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_group_in_use_stays(tmp_path: Path, kernel: Kernel) -> None:
    found = v1(tmp_path, "memory", "pids")
    group = Group(found, "sb_1")
    group.make(LIMITS)
    kernel.busy.add(str(found.bases["pids"] / "sb_1"))
    assert not group.remove()
    assert stale(found) == ["sb_1"]
    kernel.busy.clear()
    assert group.remove()
    assert group.remove()


def test_a_small_share_of_a_processor_is_still_one(tmp_path: Path, kernel: Kernel) -> None:
    found = v2(tmp_path, "cpu")
    group = Group(found, "s")
    group.make(Limits(cpus=0.0001))
    assert (tmp_path / "fs/svc/atoll-i/s/cpu.max").read_text() == "1000 100000"


def test_v1_counters(tmp_path: Path, kernel: Kernel) -> None:
    found = v1(tmp_path, "memory", "pids", "cpu", "cpuacct")
    group = Group(found, "s")
    group.make(LIMITS)
    (found.bases["memory"] / "s/memory.oom_control").write_text(
        "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
    )
    (found.bases["memory"] / "s/memory.max_usage_in_bytes").write_text("4096\n")
    (found.bases["pids"] / "s/pids.events").write_text("max 2\n")
    (found.bases["cpuacct"] / "s/cpuacct.usage").write_text("1500000000\n")
    assert (group.oom_kills(), group.pids_refused()) == (3, 2)
    assert (group.cpu_s(), group.peak_bytes()) == (1.5, 4096)


def test_v2_counters(tmp_path: Path, kernel: Kernel) -> None:
    found = v2(tmp_path, "cpu memory pids")
    group = Group(found, "s")
    group.make(LIMITS)
    place = found.bases["memory"] / "s"
    (place / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\n")
    (place / "memory.peak").write_text("4096\n")
    (place / "pids.events").write_text("max 2\n")
    (place / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    assert (group.oom_kills(), group.pids_refused()) == (3, 2)
    assert (group.cpu_s(), group.peak_bytes()) == (1.5, 4096)


@pytest.mark.parametrize("text", [None, "", "garbage", "oom_kill\nmax\nusage_usec\n", "max x\n"])
def test_counters_that_are_not_there(tmp_path: Path, kernel: Kernel, text: str | None) -> None:
    found = v2(tmp_path, "cpu memory pids")
    group = Group(found, "s")
    group.make(LIMITS)
    for name in ("memory.events", "memory.peak", "pids.events", "cpu.stat"):
        if text is not None:
            (found.bases["memory"] / "s" / name).write_text(text)
    assert (group.oom_kills(), group.pids_refused(), group.peak_bytes()) == (0, 0, 0)
    assert group.cpu_s() is None


def test_v2_counts_processor_time_without_the_controller(tmp_path: Path, kernel: Kernel) -> None:
    found = v2(tmp_path, "memory pids")
    group = Group(found, "s")
    group.make(LIMITS)
    (found.bases["memory"] / "s/cpu.stat").write_text("usage_usec 250000\nuser_usec 1\n")
    assert group.cpu_s() == 0.25


def test_without_cgroups_nothing_is_counted() -> None:
    group = Group(Hierarchy(0), "s")
    group.make(LIMITS)
    assert entries(group) == []
    assert (group.oom_kills(), group.pids_refused(), group.peak_bytes()) == (0, 0, 0)
    assert group.cpu_s() is None
    assert group.remove()
