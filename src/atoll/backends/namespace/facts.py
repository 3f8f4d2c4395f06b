"""What holds on this host, for `/v1/backends` and `atoll doctor`: data, and how it is enforced."""

from collections.abc import Mapping

from atoll.jail.cgroups import Hierarchy


def limits(hierarchy: Hierarchy) -> Mapping[str, str]:
    """Each limit, and what enforces it here."""
    cgroup = f"cgroup v{hierarchy.version}"
    return {
        "wall_time": "timer of the server",
        "cpu_time": "RLIMIT_CPU per process"
        + (f", {cgroup} for the whole" if hierarchy.has("cpuacct") else ""),
        "memory": cgroup if hierarchy.has("memory") else "counted every 20 ms; RLIMIT_DATA",
        "processes": cgroup if hierarchy.has("pids") else "RLIMIT_NPROC of its user namespace",
        "cpus": cgroup if hierarchy.has("cpu") else "not enforced",
        "disk": "tmpfs of that size; kept sandboxes are counted twice a second",
        "disk_files": "as the disk",
        "open_files": "RLIMIT_NOFILE",
        "output": "cut while reading",
    }


def host(hierarchy: Hierarchy, uid: int | None) -> Mapping[str, str]:
    """Rootless or root, and which cgroups."""
    rights = "rootless" if uid is None else f"root, sandboxes run as uid {uid}"
    groups = f"v{hierarchy.version}" if hierarchy.version else f"none ({hierarchy.why})"
    freezer = f"cgroup v{hierarchy.version}" if hierarchy.freezer else "none: no sandbox is paused"
    return {"rights": rights, "cgroups": groups, "freezer": freezer}
