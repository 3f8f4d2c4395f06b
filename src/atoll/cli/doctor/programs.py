"""Programs that backends and languages use: where, and which version."""

import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from atoll.cli.doctor.finding import Finding, State

_DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class _Program:
    name: str
    what: str
    argv: tuple[str, ...]
    with_it: str
    without: str
    how: str


_PROGRAMS = (
    _Program(
        "/usr/bin/python3",
        "python3 at /usr/bin",
        ("--version",),
        "Python code runs by warm fork in the host image",
        "Python code cannot run in the host image",
        "apt-get install python3",
    ),
    _Program(
        "node",
        "node",
        ("--version",),
        "language javascript works",
        "language javascript is refused",
        "apt-get install nodejs",
    ),
    _Program(
        "deno",
        "deno",
        ("--version",),
        "language typescript works",
        "language typescript is refused",
        "pip install 'atoll[deno]'",
    ),
    _Program(
        "runsc",
        "runsc (gVisor)",
        ("--version",),
        "stronger isolation (interposed) is possible",
        "no interposed isolation",
        "apt-get install runsc (Debian backports), or gVisor's own packages",
    ),
    _Program(
        "qemu-system-x86_64",
        "qemu",
        ("--version",),
        "isolation by virtual machine is possible",
        "no isolation by virtual machine",
        "apt-get install qemu-system-x86",
    ),
    _Program(
        "skopeo",
        "skopeo",
        ("--version",),
        "images can be pulled from registries",
        "no images from registries",
        "apt-get install skopeo",
    ),
    _Program(
        "mmdebstrap",
        "mmdebstrap",
        ("--version",),
        "images can be built from Debian packages",
        "no images from Debian packages",
        "apt-get install mmdebstrap",
    ),
    _Program(
        "bwrap",
        "bubblewrap",
        ("--version",),
        "atoll bench can compare with it",
        "nothing: only atoll bench uses it, for comparison",
        "apt-get install bubblewrap",
    ),
    _Program(
        "nft",
        "nftables",
        ("--version",),
        "sandboxes can be given a filtered network",
        "sandboxes have no network but their own loopback",
        "apt-get install nftables",
    ),
    _Program(
        "pasta",
        "pasta (passt)",
        ("--version",),
        "sandboxes can reach the network without root",
        "without root, sandboxes have no network but their own loopback",
        "apt-get install passt",
    ),
)
_DOCKER_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock")


def probe() -> list[Finding]:
    """Each program by its own version option, and the Docker engine by a question to its socket."""
    findings = [_look(program) for program in _PROGRAMS]
    findings.append(_docker())
    return findings


def _look(program: _Program) -> Finding:
    path = find(program.name)
    if path is None:
        return Finding(
            program.what,
            State.NO,
            "not found",
            program.without,
            program.how,
        )
    version = _version(path, program.argv)
    if version is None:
        return Finding(
            program.what,
            State.NO,
            f"{path} does not run",
            program.without,
            program.how,
        )
    return Finding(program.what, State.YES, f"{path} ({version})", program.with_it)


def find(name: str) -> str | None:
    """Path of a program on our PATH, beside our own interpreter, or as given when absolute."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def _version(path: str, argv: tuple[str, ...]) -> str | None:
    try:
        done = subprocess.run(
            [path, *argv],
            capture_output=True,
            timeout=_DEADLINE_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    text = (done.stdout or done.stderr).decode("utf-8", "replace").strip()
    return text.splitlines()[0][:80] if text else "version unknown"


def _docker() -> Finding:
    for path in _DOCKER_SOCKETS:
        if engine_answers(path):
            return Finding(
                "docker engine",
                State.YES,
                f"answers at {path}",
                "images that you already have can be run by it",
            )
    client = find("docker")
    return Finding(
        "docker engine",
        State.NO,
        "a client is installed, but no engine answers" if client else "not found",
        "no isolation by docker",
        "systemctl start docker" if client else "apt-get install docker.io",
    )


def engine_answers(path: str = _DOCKER_SOCKETS[0]) -> bool:
    """Whether a Docker engine (not only its client) is there and we may talk to it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(2.0)
        try:
            connection.connect(path)
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
            return b" 200 " in connection.recv(256)
        except OSError:
            return False
