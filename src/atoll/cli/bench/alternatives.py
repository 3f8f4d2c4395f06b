"""What Atoll is compared with, where this host has it."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from atoll.cli.bench.series import Contender, Failed
from atoll.cli.doctor.programs import engine_answers

PYTHON = "/usr/bin/python3"
_DEADLINE_S = 60.0
_SLOW = 10


def program(argv: Sequence[str], expected: bytes, every: int = 1) -> Contender:
    """Start a program, wait for its end, compare what it printed."""

    def attempt() -> None:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_DEADLINE_S,
            check=False,
        )
        if done.returncode != 0 or done.stdout != expected:
            raise Failed(f"{argv[0]} ended with {done.returncode}: {done.stderr[-200:]!r}")

    return Contender(attempt, every)


def isolated(argv: Sequence[str], expected: bytes) -> tuple[dict[str, Contender], list[str]]:
    """The same program under each isolator that is here; and a sentence for each that is not."""
    found: dict[str, Contender] = {}
    why: list[str] = []
    if shutil.which("bwrap"):
        found["bwrap"] = program([*_bwrap(), *argv], expected)
    else:
        why.append("bwrap is not installed")
    if shutil.which("runsc"):
        found["runsc do"] = program(["runsc", "do", *argv], expected, _SLOW)
    else:
        why.append("runsc is not installed")
    image = docker_image()
    if image:
        docker = ["docker", "run", "--rm", "--network=none", *_host_user_land(), image]
        found["docker run"] = program([*docker, *argv], expected, _SLOW)
    else:
        why.append("no docker engine with an image answers")
    return found, why


def _bwrap() -> list[str]:
    argv = ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64", "sbin"):
        place = Path("/") / name
        if place.is_symlink():
            argv += ["--symlink", str(place.readlink()), str(place)]
        elif place.exists():
            argv += ["--ro-bind", str(place), str(place)]
    return [
        *argv,
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--tmpfs",
        "/workspace",
        "--chdir",
        "/workspace",
    ]


def _host_user_land() -> list[str]:
    """Let a container see the host's programs, so that all run the very same interpreter."""
    places = ("/usr", "/bin", "/lib", "/lib64")
    return [
        word for place in places if Path(place).exists() for word in ("-v", f"{place}:{place}:ro")
    ]


def docker_image() -> str | None:
    """An image that a running engine already has; nothing is downloaded."""
    if not engine_answers() or not shutil.which("docker"):
        return None
    done = subprocess.run(
        ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"],
        capture_output=True,
        text=True,
        timeout=_DEADLINE_S,
        check=False,
    )
    names = [name for name in done.stdout.split() if "<none>" not in name]
    return names[0] if names else None
