"""Build an image's root directory out of what the host has. Runs on the far side.

The tree is read-only when done; what a sandbox may write is mounted over it, per sandbox.
"""

import os
import stat
from typing import Any

from atoll.jail import syscalls as sys_

BASE = "srv"
STORE = "opt"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
EMPTY = (
    "dev/pts", "dev/shm", "etc", "home/user", "media", "mnt", "opt", "proc", "root", "run",
    "srv", "tmp", "usr", "var/cache", "var/lib", "var/log", "var/tmp", "workspace",
)  # fmt: skip
# What a sandbox of an image from the store needs there, whatever the image has in its place.
OVER = ("dev/pts", "dev/shm", "etc", "proc")
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")

# What programs expect to find in /etc and nobody minds: no passwords, no keys, no host names.
ETC = (
    "alternatives", "ca-certificates", "ca-certificates.conf", "debian_version", "fonts",
    "java-11-openjdk", "java-17-openjdk", "java-21-openjdk", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "localtime", "magic", "mailcap", "mime.types", "os-release", "perl", "php",
    "protocols", "python3", "python3.11", "python3.12", "python3.13", "rpc", "services",
    "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
_ETC_FILE_MAX = 4 * 1024 * 1024

PASSWD = (
    "root:x:0:0:root:/root:/bin/sh\n"
    "user:x:1000:1000:user:/home/user:/bin/bash\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
)
GROUP = "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"
# Where sandboxes that have a network ask for names; answered by the host's end of their link.
RESOLVER = "100.127.255.53"
# And where it asks for what policies list by name, if its programs take it.
PROXY_PORT = 3128
HOSTS = "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost\n"
NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nprotocols: files\nservices: files\n"


def build(root: str, config: dict[str, Any]) -> None:
    """Mount a new tmpfs on `root` and fill it; `config` is the launcher's.

    `binds` are (host path, path in the image) pairs, read-only; `data` is bound writable at
    `/mnt`, for the sandboxes that keep their files. `store` holds the layers of images: with it
    nobody lives in this tree, and sandboxes are laid over those, at `STORE`.
    """
    sys_.mount("none", "/", None, sys_.MS_REC | sys_.MS_PRIVATE)
    binds = [(_hold(source), target) for source, target in config["binds"]]
    data = _hold(config["data"]) if config.get("data") else None
    store = _hold(config["store"]) if config.get("store") else None
    _skeleton(root)
    _bind("/usr", f"{root}/usr")
    for name in MERGED:
        if os.path.isdir(f"/{name}") and not os.path.islink(f"/{name}"):
            _bind(f"/{name}", f"{root}/{name}")
    _devices(f"{root}/dev")
    for source, target in binds:
        place = f"{root}/{target.lstrip('/')}"
        make_place(source, place)
        _bind(source, place)
    if data is not None:
        sys_.mount(data, f"{root}/mnt", None, sys_.MS_BIND)
        sys_.set_mount_flags(f"{root}/mnt", "nosuid", "nodev", recursive=False)
    if store is not None:
        _bind(store, f"{root}/{STORE}")
        _over(f"{root}/{BASE}")
    elif data is not None:
        _skeleton(f"{root}/{BASE}")
        for source, target in binds:
            make_place(source, f"{root}/{BASE}/{target.lstrip('/')}")


def _skeleton(root: str) -> None:
    """A tmpfs with the image's directories and links, and no mount beneath it.

    The kernel lets a sandbox lay an overlay only over a directory without mounts that it could
    uncover, so those that need one get a second skeleton, at `BASE`.
    """
    _directories(root, EMPTY)
    for name in MERGED:
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{root}/{name}")
        elif os.path.isdir(f"/{name}"):
            os.mkdir(f"{root}/{name}")
    _device_places(root)
    _etc(f"{root}/etc")


def _over(root: str) -> None:
    """What is laid over an image, so that no mount follows a link of the image's."""
    _directories(root, OVER)
    _device_places(root)
    _etc_files(f"{root}/etc")


def _directories(root: str, names: tuple[str, ...]) -> None:
    sys_.mount("tmpfs", root, "tmpfs", sys_.MS_NOSUID, "size=64m,mode=0755")
    for name in names:
        os.makedirs(f"{root}/{name}", mode=0o755, exist_ok=True)


def _device_places(root: str) -> None:
    for name in DEVICES:
        os.close(os.open(f"{root}/dev/{name}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o666))
    for name, target in (
        ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"), ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"), ("ptmx", "pts/ptmx"),
    ):  # fmt: skip
        os.symlink(target, f"{root}/dev/{name}")


def _hold(path: str) -> str:
    """A name for `path` that still works when something is mounted over its parents."""
    return f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_CLOEXEC)}"


def _bind(source: str, target: str) -> None:
    sys_.mount(source, target, None, sys_.MS_BIND | sys_.MS_REC)
    sys_.set_mount_flags(target, "ro", "nosuid", "nodev")


def make_place(source: str, target: str) -> None:
    """Make what a bind of `source` on `target` needs there: a directory, or an empty file."""
    if stat.S_ISDIR(os.stat(source).st_mode):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))


def _etc(target: str) -> None:
    """Copy the harmless part of /etc and write the rest; unreadable things are left out."""
    import shutil  # noqa: PLC0415 (only the launcher needs it; a zygote stays small)

    for name in ETC:
        source, copy = f"/etc/{name}", f"{target}/{name}"
        os.makedirs(os.path.dirname(copy), exist_ok=True)
        if os.path.islink(source) or os.path.isfile(source):
            _copy(source, copy)
        elif os.path.isdir(source):
            shutil.copytree(
                source, copy, symlinks=True, copy_function=_copy, dirs_exist_ok=True,
                ignore_dangling_symlinks=True,
            )  # fmt: skip
    _etc_files(target)


def _etc_files(target: str) -> None:
    for name, text in (
        ("passwd", PASSWD), ("group", GROUP), ("hosts", HOSTS), ("nsswitch.conf", NSSWITCH),
        ("hostname", "sandbox\n"), ("resolv.conf", f"nameserver {RESOLVER}\n"),
    ):  # fmt: skip
        with open(f"{target}/{name}", "w", encoding="ascii") as file:
            file.write(text)


def _copy(source: str, target: str) -> str:
    try:
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
        elif os.path.isfile(source) and os.path.getsize(source) <= _ETC_FILE_MAX:
            with open(source, "rb") as old, open(target, "xb") as new:
                new.write(old.read())
    except OSError:
        pass
    return target


def _devices(dev: str) -> None:
    for name in DEVICES:
        sys_.mount(f"/dev/{name}", f"{dev}/{name}", None, sys_.MS_BIND)
