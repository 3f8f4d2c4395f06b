"""What this host offers to the tests: one probe per facility, each asked at most once.

A probe returns "" when the facility is there, else the reason why not.
"""

import ctypes
import fcntl
import functools
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

POSTGRES_URL = "TEST_POSTGRES_URL"
KVM_CREATE_VM = 0xAE01
NPM_CLIENTS = Path(sys.prefix) / "npm-clients"
EXPECTED_SKIPS = Path(__file__).with_name("expected_skips.toml")


def _ran(*argv: str) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=15, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{argv[0]}: {error}"
    said = done.stderr.strip().splitlines() or ["failed"]
    return "" if done.returncode == 0 else f"{argv[0]}: {said[-1]}"


def _command(name: str) -> Callable[[], str]:
    return lambda: "" if shutil.which(name) else f"no {name} on PATH"


def _root() -> str:
    return "" if os.geteuid() == 0 else f"running as uid {os.geteuid()}"


def _rootless() -> str:
    return "running as root" if os.geteuid() == 0 else ""


def _userns() -> str:
    return _ran("unshare", "--user", "--map-root-user", "true")


def _netns() -> str:
    return _ran("unshare", "--user", "--map-root-user", "--net", "true")


def _pidns() -> str:
    return _ran("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "true")


def _cgroup_directories(controllers: set[str]) -> list[Path]:
    """Our own cgroup in the v1 hierarchies of these controllers; with "" the one in v2."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found: list[Path] = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, own = line.split(":", 2)
        if not controllers & set(names.split(",")):
            continue
        kind = "cgroup" if names else "cgroup2"
        for fields in mounts:
            dash = fields.index("-")
            options = set(fields[dash + 3].split(","))
            if fields[dash + 1] == kind and (not names or set(names.split(",")) <= options):
                found.append(Path(fields[4]) / own.lstrip("/"))
                break
    return found


def _cgroup1() -> str:
    own = [path for path in _cgroup_directories({"memory", "pids"}) if os.access(path, os.W_OK)]
    return "" if len(own) == 2 else "no writable v1 hierarchies for memory and pids"


def _cgroup2() -> str:
    for path in _cgroup_directories({""}):
        control = path / "cgroup.controllers"
        offered = control.read_text().split() if control.exists() else []
        if {"memory", "pids"} <= set(offered) and os.access(path, os.W_OK):
            return ""
    return "no writable v2 cgroup that offers memory and pids"


def _kvm() -> str:
    try:
        with Path("/dev/kvm").open("r+b", buffering=0) as device:
            os.close(fcntl.ioctl(device, KVM_CREATE_VM, 0))
    except OSError as error:
        return f"/dev/kvm: {error.strerror}"
    return ""


def _docker() -> str:
    with socket.socket(socket.AF_UNIX) as engine:
        try:
            engine.connect("/var/run/docker.sock")
        except OSError as error:
            return f"/var/run/docker.sock: {error.strerror}"
    return ""


def _deno() -> str:
    try:
        from deno import find_deno_bin
    except ImportError:
        return _command("deno")()
    try:
        return "" if find_deno_bin() else "the deno package has no binary here"
    except FileNotFoundError as error:
        return str(error)


def _landlock() -> str:
    version = ctypes.CDLL(None, use_errno=True).syscall(444, None, 0, 1)
    return "" if version > 0 else "the kernel has no Landlock"


def _overlayfs() -> str:
    listed = Path("/proc/filesystems").read_text().split()
    return "" if "overlay" in listed else "the kernel has no overlayfs"


def _ipv6() -> str:
    try:
        with socket.socket(socket.AF_INET6) as listener:
            listener.bind(("::1", 0))
    except OSError as error:
        return f"::1: {error.strerror}"
    return ""


def _postgres() -> str:
    url = os.environ.get(POSTGRES_URL)
    if not url:
        return f"{POSTGRES_URL} is not set"
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5432), 5).close()
    except OSError as error:
        return f"{POSTGRES_URL}: {error.strerror}"
    return ""


def _npm_clients() -> str:
    there = (NPM_CLIENTS / "node_modules" / "agentkernel").is_dir()
    return "" if there else "make dev has not installed the npm clients: no npm, or no registry"


def _host_module(name: str) -> Callable[[], str]:
    return lambda: _ran("/usr/bin/python3", "-c", f"import {name}")


PROBES: dict[str, Callable[[], str]] = {
    "root": _root,
    "rootless": _rootless,
    "userns": _userns,
    "netns": _netns,
    "nft": _command("nft"),
    "pidns": _pidns,
    "cgroup1": _cgroup1,
    "cgroup2": _cgroup2,
    "overlayfs": _overlayfs,
    "landlock": _landlock,
    "ipv6": _ipv6,
    "kvm": _kvm,
    "modules": lambda: "" if Path("/proc/modules").exists() else "a kernel without modules",
    "docker": _docker,
    "deno": _deno,
    "wasm": lambda: "" if importlib.util.find_spec("wasmtime") else "no wasmtime: pip install it",
    "postgres": _postgres,
    "python3": lambda: "" if Path("/usr/bin/python3").exists() else "no /usr/bin/python3",
    "numpy": _host_module("numpy"),
    "pandas": _host_module("pandas"),
    "npm-clients": _npm_clients,
    "qemu": _command("qemu-system-x86_64"),
    **{name: _command(name) for name in ("bwrap", "gcc", "node", "runsc", "git")},
}


@functools.cache
def missing(name: str) -> str:
    """Say why the facility cannot be used here; "" when it can. `cmd:NAME` asks the PATH."""
    if name.startswith("cmd:"):
        return _command(name.removeprefix("cmd:"))()
    if name not in PROBES:
        raise LookupError(f"tests/facilities.py has no probe for {name!r}")
    return PROBES[name]()


def expected_skips(mode: str) -> dict[str, int]:
    """How many tests each missing facility may cost in that mode (`root` or `rootless`)."""
    table = tomllib.loads(EXPECTED_SKIPS.read_text())
    return {name: int(count) for name, count in table.get(mode, {}).items()}
