"""The command line starts fast, since it imports little."""

import subprocess
import sys

import pytest

from atoll import __version__

HEAVY = ("httpx", "fastapi", "sqlalchemy", "anyio", "websockets", "rich", "ctypes")
HELP = """
import sys
sys.argv = ["atoll", *sys.argv[1:]]
from atoll.cli import main
code = main()
loaded = [name for name in {heavy!r} if name in sys.modules]
print("CODE", code, "LOADED", loaded)
"""


def atoll(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", HELP.format(heavy=HEAVY), *words],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )


@pytest.mark.parametrize(
    "words", [["--help"], ["sandbox", "--help"], ["run", "--help"], ["bench", "--help"]]
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    done = atoll(*words)
    assert done.stderr == ""
    assert done.stdout.endswith("CODE 0 LOADED []\n"), done.stdout[-300:]


def test_version() -> None:
    assert f"atoll {__version__}\n" in atoll("--version").stdout


def test_no_server_is_one_line_with_advice() -> None:
    done = atoll("--url", "http://127.0.0.1:9", "run", "--", "true")
    assert "CODE 125" in done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("atoll: http://127.0.0.1:9 did not answer")
    assert line.endswith("Start one with: atoll serve")


def test_failures_are_json_where_json_was_asked_for() -> None:
    done = atoll("--url", "http://127.0.0.1:9", "sandbox", "list", "--json")
    assert done.stderr.startswith('{"error": {"code": "unreachable"')


@pytest.mark.parametrize(
    "words",
    [
        ["sandbox", "create", "--label", "nothing"],
        ["run", "--memory", "much", "--", "true"],
        ["sandbox", "cp", "here", "there"],
        ["sandbox", "shell", "x"],
        ["frobnicate"],
    ],
)
def test_wrong_usage_is_2_without_a_trace(words: list[str]) -> None:
    done = atoll(*words)
    assert "CODE 2" in done.stdout
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_serve_tells_every_wrong_setting(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HELP.format(heavy=()), "serve", "--port", "99999"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env={"ATOLL_PROT": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    assert "CODE 125" in done.stdout
    assert "ATOLL_PROT" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("word", "code", "said"), [("--version", 0, f"atoll {__version__}\n"), ("no-such", 2, "")]
)
def test_the_module_is_the_command(word: str, code: int, said: str) -> None:
    argv = [sys.executable, "-m", "atoll", word]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (code, said)
