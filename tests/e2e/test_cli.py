"""The command line against a real server."""

import json
import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.server import ATOLL, Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60), pytest.mark.needs("userns")]
Done = subprocess.CompletedProcess[bytes]


class Cli:
    """`atoll` with the server's address."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "ATOLL_URL": server.url,
        }
        self.directory = directory

    def __call__(self, *words: str, stdin: bytes = b"") -> Done:
        return subprocess.run(
            [ATOLL, *words],
            input=stdin,
            capture_output=True,
            timeout=50,
            check=False,
            env=self.environment,
            cwd=self.directory,
        )

    def text(self, *words: str) -> str:
        done = self(*words)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()


@pytest.fixture
def cli(server: Server, tmp_path: Path) -> Cli:
    return Cli(server, tmp_path)


def test_run_passes_everything_through(cli: Cli) -> None:
    done = cli(
        "run", "-i", "-e", "A=b", "--", "sh", "-c", "cat; echo $A >&2; exit 7", stdin=b"\xff"
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, b"\xff", b"b\n")


def test_options_of_the_command_are_its_own(cli: Cli) -> None:
    assert cli.text("run", "--", "echo", "--json", "-t", "5") == "--json -t 5"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-t", "0.3", "--", "sleep", "9"], 124, b"wall_time"),
        (["--", "sh", "-c", "kill -9 $$"], 137, b"signal 9"),
        (["--", "no-such-program"], 125, b"no-such-program"),
        (["--profile", "none-such", "--", "true"], 125, b"profile"),
    ],
)
def test_ends_that_are_not_the_programs_own(
    cli: Cli, words: list[str], code: int, said: bytes
) -> None:
    done = cli("run", *words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


def test_exec_from_a_file_and_from_our_input(cli: Cli) -> None:
    (cli.directory / "main.py").write_text("import sys; print(sys.argv[1:], open('data').read())")
    (cli.directory / "data").write_text("shipped")
    assert cli.text("exec", "-f", "data", "python", "main.py", "a", "-b") == "['a', '-b'] shipped"
    assert cli("exec", "python", "-", stdin=b"print(3)").stdout == b"3\n"


def test_json_is_one_document(cli: Cli) -> None:
    done = cli("run", "--json", "--", "sh", "-c", "echo out; exit 3")
    said = json.loads(done.stdout)
    assert done.returncode == 3
    assert (said["stdout"], said["exit_code"], said["reason"]) == ("out\n", 3, "exited")


def test_ctrl_c_ends_the_run(cli: Cli) -> None:
    argv = [str(ATOLL), "run", "--", "sh", "-c", "echo up; sleep 50"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env=cli.environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
    deadline = time.monotonic() + 10
    while b"sleep\x0050" in _commands() and time.monotonic() < deadline:
        time.sleep(0.05)  # waits on purpose: the server ends it in its own time
    assert b"sleep\x0050" not in _commands()


def _commands() -> bytes:
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes() + b"\n"
        except OSError:
            continue
    return found


def test_a_sandbox_and_its_files(cli: Cli) -> None:
    box = cli.text("sandbox", "create", "--name", "cli-box", "--label", "a=b")
    try:
        (cli.directory / "tree" / "sub").mkdir(parents=True)
        (cli.directory / "tree" / "sub" / "f").write_text("text")
        cli.text("sandbox", "cp", "tree", "cli-box:")
        assert cli.text("sandbox", "exec", "cli-box", "--", "cat", "tree/sub/f") == "text"
        cli.text("sandbox", "cp", "tree/sub/f", "cli-box:/tmp/g")
        cli.text("sandbox", "cp", "cli-box:/tmp/g", "back")
        assert (cli.directory / "back").read_text() == "text"
        said = json.loads(cli.text("sandbox", "cp", "--json", "cli-box:tree", "copy"))
        assert said == {"entries": 2, "left_out": []} or said["entries"] >= 2
        assert (cli.directory / "copy" / "sub" / "f").read_text() == "text"
        assert box in cli.text("sandbox", "list", "--label", "a=b")
        assert json.loads(cli.text("sandbox", "get", "cli-box", "--json"))["name"] == "cli-box"
        assert cli("sandbox", "exec", "cli-box", "--", "sh", "-c", "exit 4").returncode == 4
        cli.text("sandbox", "stop", "cli-box")
        twin = cli.text("sandbox", "fork", "cli-box", "--name", "cli-twin")
        assert cli.text("sandbox", "exec", twin, "--", "cat", "tree/sub/f") == "text"
        frozen = cli.text("snapshot", "create", "cli-box", "--name", "cli-frozen")
        assert frozen in cli.text("snapshot", "list")
        again = cli.text("sandbox", "create", "--base", "cli-frozen")
        assert cli.text("sandbox", "rm", again, twin) == f"{again}\n{twin}"
        cli.text("snapshot", "rm", "cli-frozen")
    finally:
        cli("sandbox", "rm", "cli-box")
    assert "client" in cli.text("sandbox", "get", box)
    assert cli("sandbox", "get", "cli-box").returncode == 125


def test_processes_keys_and_events(cli: Cli) -> None:
    box = cli.text("sandbox", "create")
    assert "COMMAND" in cli.text("sandbox", "ps", box)
    cli.text("sandbox", "exec", box, "--", "echo", "kept")
    pid = json.loads(cli.text("sandbox", "ps", box, "--json"))[0]["pid"]
    assert cli.text("sandbox", "logs", box, str(pid)) == "kept"
    cli.text("sandbox", "rm", box)
    key = json.loads(cli.text("keys", "create", "cli", "--json"))
    assert key["key"].startswith("atoll_")
    assert key["prefix"] in cli.text("keys", "list")
    cli.text("keys", "revoke", key["id"])
    lines = [json.loads(line) for line in cli.text("events", "--json").splitlines()]
    assert any(line["sandbox_id"] == box for line in lines)


def test_a_shell_in_a_real_terminal(cli: Cli) -> None:
    box = cli.text("sandbox", "create")
    ours, theirs = pty.openpty()
    argv = [str(ATOLL), "sandbox", "shell", box]
    with subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, env=cli.environment
    ) as process:
        os.close(theirs)
        os.write(ours, b"echo $((40+2)); exit 6\n")
        seen = _until_closed(ours)
        assert process.wait(20) == 6, seen
    assert b"42\r\n" in seen
    cli.text("sandbox", "rm", box)


def _until_closed(terminal: int) -> bytes:
    seen = b""
    while select.select([terminal], [], [], 20)[0]:
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        seen += piece
    os.close(terminal)
    return seen
