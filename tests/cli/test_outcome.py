import pytest

from atoll.cli.outcome import exit_code, explain
from atoll.client import Exit, Usage

NOTHING = Usage(0, 0, 0)


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (Exit(0, "exited", None, truncated=False, usage=NOTHING), 0),
        (Exit(7, "exited", None, truncated=False, usage=NOTHING), 7),
        (Exit(None, "signal", 15, truncated=False, usage=NOTHING), 143),
        (Exit(None, "wall_time", None, truncated=False, usage=NOTHING), 124),
        (Exit(None, "cpu_time", None, truncated=False, usage=NOTHING), 124),
        (Exit(None, "memory", 9, truncated=False, usage=NOTHING), 137),
        (Exit(None, "unknown", None, truncated=False, usage=NOTHING), 125),
    ],
)
def test_the_guests_end_becomes_our_exit_code(end: Exit, code: int) -> None:
    assert exit_code(end) == code


def test_what_the_code_cannot_say_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    explain(Exit(None, "memory", 9, truncated=True, usage=NOTHING))
    assert capsys.readouterr().err == (
        "atoll: the program was ended: memory\natoll: its output was cut\n"
    )
    explain(Exit(0, "exited", None, truncated=False, usage=NOTHING))
    assert capsys.readouterr().err == ""
