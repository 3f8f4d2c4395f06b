import os
import signal
from pathlib import Path

import pytest

from atoll.cli.doctor.child import ProbeFailed, in_child


def test_the_answer_comes_back_and_the_mess_does_not() -> None:
    before = str(Path.cwd())

    def probe() -> str:
        os.chdir("/")
        return str(Path.cwd())

    assert in_child(probe) == "/"
    assert str(Path.cwd()) == before


def test_a_refusal_names_its_reason() -> None:
    def probe() -> str:
        raise PermissionError(1, "Operation not permitted")

    with pytest.raises(ProbeFailed, match="Operation not permitted"):
        in_child(probe)


def test_a_killed_probe_is_a_refusal() -> None:
    def probe() -> str:
        os.kill(os.getpid(), signal.SIGKILL)
        return ""

    with pytest.raises(ProbeFailed, match="killed"):
        in_child(probe)


def test_no_child_is_left_behind() -> None:
    pid = int(in_child(lambda: str(os.getpid())))
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
