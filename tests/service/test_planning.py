import math
from dataclasses import replace
from typing import Any

import anyio
import pytest

from atoll.core.errors import InvalidRequest, TooLarge, Unavailable
from atoll.core.model import MIB, Limits
from atoll.service.execution import Execution
from atoll.service.languages import Languages
from atoll.service.planning import Bounds, plan
from tests.service.rig import COBOL, SHELL

LANGUAGES = Languages(
    {"sh": SHELL, "cobol": COBOL}, available=lambda language: language.name == "sh"
)
BOUNDS = Bounds(
    code_bytes=100,
    files_bytes=200,
    files=3,
    stdin_bytes=10,
    command_bytes=200_000,
    wall_s=60.0,
    output_bytes=1000,
    limits=Limits(memory_bytes=1024 * MIB, cpus=4.0),
)
CODE = Execution(language="sh", code="echo hi", output_bytes=1000)


@pytest.fixture(scope="module", autouse=True)
def looked_for() -> None:
    anyio.run(LANGUAGES.look_for)


def planned(**changes: Any) -> Any:
    return plan(replace(CODE, **changes), LANGUAGES, BOUNDS)


def refused(**changes: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        planned(**changes)
    return caught.value


def test_code_is_the_entry_file() -> None:
    spec = planned(args=("a", "-b"))
    assert spec.argv == ("sh", "main.sh", "a", "-b")
    assert spec.files == {"main.sh": b"echo hi"}
    assert spec.stdin is False


def test_the_environment_of_the_request_is_laid_over_that_of_the_language() -> None:
    assert planned().env == {"FLAVOUR": "plain"}
    assert planned(env={"FLAVOUR": "own", "X": ""}).env == {"FLAVOUR": "own", "X": ""}


def test_files_stand_beside_code() -> None:
    assert planned(files={"./data//x": b"1"}).files == {"main.sh": b"echo hi", "data/x": b"1"}


@pytest.mark.parametrize(
    ("files", "entry", "argument"),
    [
        ({"a.sh": b"", "b.sh": b""}, "b.sh", "b.sh"),
        ({"d/a.sh": b"", "b.sh": b""}, "./d/a.sh", "d/a.sh"),
        ({"a.sh": b"", "main.sh": b""}, None, "main.sh"),
        ({"only.sh": b""}, None, "only.sh"),
        ({"-c": b""}, "-c", "./-c"),
        ({"-c": b""}, None, "./-c"),
    ],
)
def test_one_of_the_files_is_the_entry(
    files: dict[str, bytes], entry: str | None, argument: str
) -> None:
    assert planned(code=None, files=files, entry=entry).argv == ("sh", argument)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"entry": "main.sh"}, "entry"),
        ({"files": {"main.sh": b""}}, "files"),
        ({"code": None}, "code"),
        ({"code": None, "files": {"a": b"", "b": b""}}, "entry"),
        ({"code": None, "files": {"a": b""}, "entry": "b"}, "entry"),
        ({"code": None, "files": {"a": b""}, "entry": "../a"}, "entry"),
        ({"files": {"/etc/passwd": b""}}, "files"),
        ({"files": {"../x": b""}}, "files"),
        ({"files": {"a\0": b""}}, "files"),
        ({"code": "\ud800"}, "code"),
        ({"language": "klingon"}, "language"),
        ({"language": None}, "language"),
        ({"args": ("a\0b",)}, "args"),
        ({"args": ("\ud800",)}, "args"),
        ({"env": {"A=B": ""}}, "env"),
        ({"env": {"": ""}}, "env"),
        ({"env": {"A": "\0"}}, "env"),
        ({"cwd": ""}, "cwd"),
        ({"cwd": "/a\0"}, "cwd"),
        ({"cwd": "/" * 4096}, "cwd"),
        ({"wall_s": 0}, "wall_s"),
        ({"wall_s": -1}, "wall_s"),
        ({"wall_s": 61}, "wall_s"),
        ({"wall_s": math.nan}, "wall_s"),
        ({"wall_s": math.inf}, "wall_s"),
        ({"cpu_s": 0}, "cpu_s"),
        ({"cpu_s": math.inf}, "cpu_s"),
        ({"output_bytes": 0}, "output_bytes"),
        ({"output_bytes": 1001}, "output_bytes"),
        ({"limits": Limits(memory_bytes=0)}, "limits.memory_bytes"),
        ({"limits": Limits(cpus=math.nan)}, "limits.cpus"),
        ({"limits": Limits(cpus=5)}, "limits.cpus"),
        ({"limits": Limits(memory_bytes=2048 * MIB)}, "limits.memory_bytes"),
        ({"language": None, "code": None, "argv": ()}, "argv"),
        ({"language": None, "code": None, "argv": ("",)}, "argv"),
        ({"language": None, "code": None, "argv": ("a", "\0")}, "argv"),
        ({"argv": ("true",)}, "language"),
        ({"language": None, "argv": ("true",)}, "code"),
        ({"language": None, "code": None, "argv": ("true",), "entry": "x"}, "entry"),
    ],
)
def test_what_is_wrong_is_refused_with_its_field(changes: dict[str, Any], field: str) -> None:
    assert refused(**changes).field == field


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"code": "x" * 101}, "code"),
        ({"code": "é" * 51}, "code"),
        ({"files": {"a": b"x" * 201}}, "files"),
        ({"files": dict.fromkeys("abcd", b"")}, "files"),
        ({"stdin": b"x" * 11}, "stdin"),
        ({"args": ("x" * 131_072,)}, "args"),
        ({"args": ("x" * 100_000,) * 2}, "args"),
        ({"env": {"A": "x" * 131_072}}, "args"),
    ],
)
def test_what_is_too_large_is_refused_with_its_bound(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(TooLarge) as caught:
        planned(**changes)
    assert caught.value.field == field
    assert caught.value.limit is not None


def test_what_is_just_not_too_large_is_planned() -> None:
    assert planned(code="x" * 100, stdin=b"x" * 10, files={"a": b"x" * 200}).stdin is True
    assert planned(wall_s=60, limits=BOUNDS.limits).wall_s == 60


def test_a_command_is_run_as_it_is() -> None:
    spec = planned(language=None, code=None, argv=("ls", "-l"), args=("x",), files={"x": b"1"})
    assert spec.argv == ("ls", "-l", "x")
    assert spec.files == {"x": b"1"}


def test_an_interpreter_that_the_host_lacks_is_named_with_its_remedy() -> None:
    with pytest.raises(Unavailable, match="apt-get install gnucobol"):
        planned(language="cobol")
    assert planned(language="cobol", image="other").argv == ("cobc", "main.cob")


def test_without_a_limit_of_its_own_the_wall_bounds_the_cpu_time() -> None:
    assert planned(wall_s=10).cpu_s > 10
    assert planned(wall_s=10, limits=Limits(cpus=2)).cpu_s > 20
    assert planned(wall_s=10, cpu_s=1.5).cpu_s == 1.5
