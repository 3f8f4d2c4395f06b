"""Can namespaces be made here, as root and without being root? Really tried, in a child."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from atoll.cli.doctor.child import ProbeFailed, in_child
from atoll.cli.doctor.finding import Finding, State
from atoll.cli.doctor.syscalls import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_REC,
    PR_SET_DUMPABLE,
    mount,
    prctl,
    unshare,
)

_OTHERS = (
    (CLONE_NEWNS, "mount namespace"),
    (CLONE_NEWPID, "pid namespace"),
    (CLONE_NEWIPC, "ipc namespace"),
    (CLONE_NEWUTS, "host name namespace"),
    (CLONE_NEWNET, "network namespace"),
    (CLONE_NEWCGROUP, "cgroup namespace"),
)
_NOBODY = 65534


def probe() -> list[Finding]:
    """Root, rootless, and an overlay inside of a user namespace."""
    root = os.geteuid() == 0
    findings: list[Finding] = []
    if root:
        findings.append(_try("namespaces as root", _full_jail))
    findings.append(
        _try("namespaces without root", _as_nobody(_full_jail) if root else _full_jail),
    )
    findings.append(_overlay())
    return findings


def _try(what: str, attempt: Callable[[], str]) -> Finding:
    try:
        in_child(attempt)
    except ProbeFailed as failed:
        return Finding(
            what,
            State.NO,
            str(failed),
            "the namespace backend cannot be used this way",
            _remedy(),
        )
    return Finding(
        what,
        State.YES,
        "user, mount, pid, ipc, host name, network and cgroup namespaces, with /proc and tmpfs",
        "the namespace backend can isolate processes, files and network",
    )


def _full_jail() -> str:
    enter_user_namespace()
    for flag, name in _OTHERS:
        unshare(flag, name)
    mount("none", "/", "", MS_REC | MS_PRIVATE, "", "private mounts")
    place = tempfile.gettempdir()
    mount("tmpfs", place, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m", "a tmpfs")
    # A new pid namespace begins with the next child, and only there /proc can be mounted.
    return in_child(lambda: _mount_proc(place))


def _mount_proc(place: str) -> str:
    mount("proc", place, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "", "a /proc of its own")
    return "made"


def _as_nobody(attempt: Callable[[], str]) -> Callable[[], str]:
    def dropped() -> str:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
        # Having changed uid, the kernel gives /proc/self to root until told otherwise.
        prctl(PR_SET_DUMPABLE, 1, "becoming dumpable")
        return attempt()

    return dropped


def enter_user_namespace() -> None:
    """Become uid 0 of a new user namespace."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER, "user namespace")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"0 {uid} 1")
    _write("/proc/self/gid_map", f"0 {gid} 1")


def _write(path: str, text: str) -> None:
    try:
        # Bytes: after dropping root our own library (and its codecs) may be out of reach.
        Path(path).write_bytes(text.encode())
    except OSError as failed:
        raise ProbeFailed(f"writing {path}: {failed.strerror}") from failed


def _overlay() -> Finding:
    what = "overlayfs in a user namespace"
    try:
        in_child(_mount_overlay)
    except ProbeFailed as failed:
        return Finding(
            what,
            State.NO,
            str(failed),
            "sandboxes share the image read-only and forks copy files",
            "Linux 5.11 or newer",
        )
    return Finding(
        what,
        State.YES,
        "mounted with userxattr",
        "sandboxes can write over a shared read-only image; forks cost nothing",
    )


def _mount_overlay() -> str:
    enter_user_namespace()
    unshare(CLONE_NEWNS, "mount namespace")
    mount("none", "/", "", MS_REC | MS_PRIVATE, "", "private mounts")
    place = Path(tempfile.gettempdir())
    mount("tmpfs", str(place), "tmpfs", MS_NOSUID | MS_NODEV, "size=1m", "a tmpfs")
    for name in ("lower", "upper", "work", "merged"):
        (place / name).mkdir()
    data = f"lowerdir={place}/lower,upperdir={place}/upper,workdir={place}/work,userxattr"
    mount("overlay", f"{place}/merged", "overlay", MS_NODEV, data, "an overlay")
    return "made"


_SWITCHES = (
    ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
    ),
    ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=15000"),
)


def _remedy() -> str:
    steps = [
        remedy
        for name, bad, remedy in _SWITCHES
        if (path := Path("/proc/sys") / name).exists()
        and path.read_text(encoding="ascii").strip() == bad
    ]
    if steps:
        return " and ".join(steps)
    return "run outside of a container, or with --privileged or a seccomp profile that lets unshare"
