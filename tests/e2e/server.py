"""The server as a person starts it: a process of its own, a free port, a new data directory."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ATOLL = Path(sys.executable).with_name("atoll")
STARTS_WITHIN_S = 30.0
STOPS_WITHIN_S = 15.0


@dataclass(frozen=True)
class Server:
    """A running server. `printed` is where its stdout and stderr go."""

    url: str
    process: "subprocess.Popen[bytes]"
    printed: Path

    @property
    def address(self) -> str:
        """Host and port, as the README writes them."""
        return self.url.removeprefix("http://")

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ask it to end, as Ctrl-C does; the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOPS_WITHIN_S)


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def serving(
    data_dir: Path, *flags: str, port: int = 0, through: tuple[str, ...] = ()
) -> Iterator[Server]:
    """Start `atoll serve` and wait until it is ready; end it, whatever happened.

    `through` is a command that starts the program which its last words name.
    """
    port = port or free_port()
    data_dir.mkdir(exist_ok=True)
    printed = data_dir.with_suffix(".log")
    argv = [*through, str(ATOLL), "serve", "--port", str(port), "--data-dir", str(data_dir), *flags]
    environment = {name: value for name, value in os.environ.items() if name[:6] != "ATOLL_"}
    with printed.open("ab") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, env=environment)
    try:
        server = Server(f"http://127.0.0.1:{port}", process, printed)
        _wait_until_ready(server)
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(STOPS_WITHIN_S)


def _wait_until_ready(server: Server) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"{server.url}/readyz", timeout=5).close()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)  # waits on purpose: another process gets ready
        else:
            return
    raise AssertionError(f"the server did not get ready:\n{server.printed.read_text()}")
