"""A server of our own for the measurements, on a free loopback port with its data in a temp dir."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atoll.cli.bench.plain_http import BrokenAnswer, Connection

_READY_S = 60.0
_STOP_S = 30.0
_LOOK_S = 0.05


class NoServer(Exception):
    """It did not start; the text has the end of what it said."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens; `pid` is None when it is not ours."""

    host: str
    port: int
    api_key: str | None = None
    pid: int | None = None

    def connection(self) -> Connection:
        """A new kept connection."""
        headers = {"X-API-Key": self.api_key} if self.api_key else {}
        return Connection(self.host, self.port, headers)


@contextmanager
def own_server(*, dialect_options: Sequence[str] = (), **settings: object) -> Generator[Server]:
    """Start `atoll serve` with settings beside the defaults, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as place:
        port = free_port()
        config = Path(place) / "bench.toml"
        config.write_text(
            "".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()),
            encoding="utf-8",
        )
        log = Path(place) / "server.log"
        argv = [sys.executable, "-c", "import sys; from atoll.cli import main; sys.exit(main())"]
        argv += [
            "serve",
            "--port",
            str(port),
            "--data-dir",
            f"{place}/data",
            "--config",
            str(config),
            *(word for each in dialect_options for word in ("--dialect-option", each)),
        ]
        with log.open("wb") as sink:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        try:
            server = Server("127.0.0.1", port, pid=process.pid)
            _wait_until_ready(server, process, log)
            yield server
        finally:
            _stop(process)


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        connection = server.connection()
        try:
            if connection.send("GET", "/readyz").status == 200:  # noqa: PLR2004
                return
        except (OSError, BrokenAnswer):
            pass
        finally:
            connection.close()
        time.sleep(_LOOK_S)
    said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise NoServer(f"atoll serve did not become ready:\n{said}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def family(pid: int) -> set[int]:
    """A process and everything it started, as far as parents tell."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (parent := _parent(entry)) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found = {pid}
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.add(child)
            waiting.append(child)
    return found


def _parent(entry: Path) -> int | None:
    try:
        text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[1])


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()


def memory_bytes(pids: set[int]) -> int:
    """Proportional set size of those processes together: shared pages are counted once.

    A sandbox's first process has no memory but that of its maker, which is its parent.
    """
    total = 0
    for pid in pids:
        try:
            if _name(pid) == _name(_parent(Path(f"/proc/{pid}")) or 0) == "atoll-maker":
                continue
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue
        _, _, after = text.partition("\nPss:")
        total += int(after.split(maxsplit=1)[0]) * 1024
    return total


def memory_free_bytes() -> int:
    """What the machine could still give (MemAvailable)."""
    _, _, after = Path("/proc/meminfo").read_text(encoding="ascii").partition("MemAvailable:")
    return int(after.split(maxsplit=1)[0]) * 1024


def core_count() -> int:
    """CPUs that we may use."""
    return len(os.sched_getaffinity(0))
