"""What one sandbox sees, mounted over its image. Runs on the far side.

Two shapes. A *fresh* sandbox keeps the zygote's read-only root and gets one tmpfs, bounded in
bytes and files, for everything it may write. A *kept* one gets an overlay whose upper directory
is on the host's disk, and pivots into it, so that the old tree with the host's directory in it
can no longer be named. Of an image from the store both get an overlay, a fresh one's in memory.
What /proc shows depends on who mounts it, so that is left to the first
program; until then there is nothing in it.
"""

import os
from typing import Any

from atoll.jail import syscalls as sys_
from atoll.jail.rootfs import BASE, STORE, make_place

STAGE = "/mnt"
ROOT = "/media"
WRITABLE = {
    "workspace": 0o755, "home/user": 0o755, "tmp": 0o1777, "var/tmp": 0o1777, "run": 0o755,
    "dev/shm": 0o1777,
}  # fmt: skip
MASKED = (
    "acpi", "asound", "kallsyms", "kcore", "keys", "kpagecgroup", "kpagecount", "kpageflags",
    "latency_stats", "sched_debug", "scsi", "slabinfo", "timer_list", "timer_stats",
    "vmallocinfo",
)  # fmt: skip
READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
SECRETS = "size=1m,nr_inodes=512,mode=0755"
_PROC_FLAGS = sys_.MS_NOSUID | sys_.MS_NODEV | sys_.MS_NOEXEC


class Cover:
    """Which parts of /proc are hidden or read-only; looked up once, by the zygote."""

    def __init__(self, proc: str) -> None:
        present = [name for name in MASKED if os.path.exists(f"{proc}/{name}")]
        self.directories = [name for name in present if os.path.isdir(f"{proc}/{name}")]
        self.files = [name for name in present if name not in self.directories]
        self.read_only = [name for name in READ_ONLY if os.path.exists(f"{proc}/{name}")]


def fresh(disk_bytes: int, disk_files: int) -> None:
    """A tmpfs of that size over all that may be written; nothing of it outlives the sandbox."""
    _tmpfs(STAGE, disk_bytes, disk_files)
    for name, mode in WRITABLE.items():
        source = f"{STAGE}/{name.replace('/', '-')}"
        os.mkdir(source, mode)
        os.chmod(source, mode)
        sys_.mount(source, f"/{name}", None, sys_.MS_BIND)
    # Hidden, not unmounted: for that the kernel waits until each CPU has noticed.
    _veil(STAGE)
    _veil("/proc")
    _pts("/dev/pts")


def fresh_over(image: list[str], disk_bytes: int, disk_files: int, *, read_only: bool) -> None:
    """The same over an image of the store, its layers newest first: an overlay as the root."""
    _tmpfs(STAGE, disk_bytes, disk_files)
    for name in ("fs", "work", "shm"):
        os.mkdir(f"{STAGE}/{name}", 0o755)
    for name, mode in WRITABLE.items():
        if name != "dev/shm":
            os.makedirs(f"{STAGE}/fs/{name}", 0o755)
            os.chmod(f"{STAGE}/fs/{name}", mode)
    os.chmod(f"{STAGE}/shm", WRITABLE["dev/shm"])
    _overlay(STAGE, [], image)
    sys_.mount(f"{STAGE}/shm", f"{ROOT}/dev/shm", None, sys_.MS_BIND)
    _enter(read_only=read_only)


def kept(
    directory: str, layers: list[str], image: list[str], disk_bytes: int, *, read_only: bool
) -> None:
    """An overlay of `<STAGE>/<directory>/fs` over frozen `layers` (newest first) as the root.

    Beneath those, the layers of an image of the store, or, without any, the host image.
    """
    _overlay(f"{STAGE}/{directory}", layers, image)
    _tmpfs(f"{ROOT}/dev/shm", disk_bytes, 4096)
    place = _directories(ROOT, "run", "secrets")
    sys_.mount("tmpfs", place, "tmpfs", sys_.MS_NOSUID | sys_.MS_NODEV, SECRETS)
    _enter(read_only=read_only)


def _directories(root: str, *names: str) -> str:
    """Directories one in the other, whatever a guest has put in their place; the last one."""
    place = root
    for name in names:
        place = f"{place}/{name}"
        if os.path.islink(place) or not os.path.isdir(place):
            if os.path.lexists(place):
                os.unlink(place)
            os.mkdir(place, 0o755)
    return place


def _overlay(place: str, layers: list[str], image: list[str]) -> None:
    """At `ROOT`, with the mounts of the image on it."""
    lower = ":".join(
        [
            *(f"{STAGE}/{name}" for name in layers),
            f"/{BASE}",
            *(f"/{STORE}/{name}" for name in image),
        ]
    )
    options = f"lowerdir={lower},upperdir={place}/fs,workdir={place}/work,userxattr"
    sys_.mount("overlay", ROOT, "overlay", sys_.MS_NOSUID | sys_.MS_NODEV, options)
    for name in _submounts():
        if image and not name.startswith("dev/"):
            continue
        make_place(f"/{name}", f"{ROOT}/{name}")
        sys_.mount(f"/{name}", f"{ROOT}/{name}", None, sys_.MS_BIND | sys_.MS_REC)


def _enter(*, read_only: bool) -> None:
    """Make what is at `ROOT` the root, once the rest of the mounts is there."""
    # The kernel lets a user namespace mount a /proc only where there is one already.
    sys_.mount("/proc", f"{ROOT}/proc", None, sys_.MS_BIND)
    _veil(f"{ROOT}/proc")
    _pts(f"{ROOT}/dev/pts")
    if read_only:
        _protect(ROOT)
    sys_.pivot_root(ROOT)


def _protect(root: str) -> None:
    """Make a root read-only but for the places that are the sandbox's own."""
    for name in WRITABLE:
        place = f"{root}/{name}"
        # A base's guest may have put a link there, which would be followed on this side.
        if os.path.realpath(place) == place and os.path.isdir(place):
            sys_.mount(place, place, None, sys_.MS_BIND | sys_.MS_REC)
    sys_.set_mount_flags(root, "ro", "nosuid", "nodev", recursive=False)


def _submounts() -> list[str]:
    """Mounts directly on the image's root that an overlay of it would not show."""
    found: list[str] = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            place = line.split(" ")[4].lstrip("/")
            first = place.split("/")[0]
            if (
                place
                and first not in ("proc", BASE, STAGE[1:], ROOT[1:])
                and not any(place == above or place.startswith(above + "/") for above in found)
            ):
                found.append(place)
    return found


def _tmpfs(target: str, size: int, files: int) -> None:
    options = f"size={size},nr_inodes={files},mode=1777"
    sys_.mount("tmpfs", target, "tmpfs", sys_.MS_NOSUID | sys_.MS_NODEV, options)


def _pts(target: str) -> None:
    options = "newinstance,ptmxmode=0666,mode=0620"
    sys_.mount("devpts", target, "devpts", sys_.MS_NOSUID | sys_.MS_NOEXEC, options)


def _veil(target: str) -> None:
    flags = sys_.MS_RDONLY | _PROC_FLAGS
    sys_.mount("tmpfs", target, "tmpfs", flags, "size=0,nr_inodes=1")


def proc(cover: Cover) -> None:
    """A /proc of the sandbox's own processes, without the first and without the host's secrets.

    Called by a process of the sandbox's pid namespace, once.
    """
    sys_.mount("proc", "/proc", "proc", _PROC_FLAGS, "hidepid=2")
    for name in cover.files:
        sys_.mount("/dev/null", f"/proc/{name}", None, sys_.MS_BIND)
    for name in cover.directories:
        _veil(f"/proc/{name}")
    for name in cover.read_only:
        path = f"/proc/{name}"
        sys_.mount(path, path, None, sys_.MS_BIND | sys_.MS_REC)
        sys_.set_mount_flags(path, "ro")


def arrange(request: dict[str, Any]) -> None:
    """Mount what the request to make a sandbox asks for."""
    image = request["image"]
    if request["kept"] is not None:
        stack = request["kept"]
        kept(
            stack["directory"], stack["layers"], image, request["disk_bytes"],
            read_only=request["read_only"],
        )  # fmt: skip
    elif image:
        fresh_over(
            image, request["disk_bytes"], request["disk_files"], read_only=request["read_only"]
        )
    else:
        fresh(request["disk_bytes"], request["disk_files"])
