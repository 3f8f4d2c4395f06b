"""Programs in WebAssembly that had started before they were asked for, beside others that had not.

A flag that changes nothing (`-B`) makes Python start anew: what it prints is the measure.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from atoll.client import Atoll
from tests.e2e.server import Server, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.needs("userns")]

SPELLINGS = ("main.py", "/main.py", "d/main.py", "./main.py", "/workspace/d/main.py")
STATE = """
import os, sys
print(__name__, globals().get("__file__"), sys.argv, sys.path, type(__loader__).__name__, __spec__)
print(sorted(globals()), sorted(sys.modules), sys.flags, os.getcwd(), sorted(os.environ.items()))
print(sys.stdin.read(), sorted(os.listdir("/")), sys.getrecursionlimit(), __builtins__)
print(repr(__cached__) if "__cached__" in globals() else "none", __annotations__, __doc__)
"""
PROGRAMS = {
    "state": STATE,
    "raises": "def f():\n    raise OSError\ntry:\n    1/0\nexcept ZeroDivisionError:\n    f()\n",
    "syntax": "print(1)\nif x\n",
    "zero": "print(1)\0\n",
    "exit code": "import sys; print('out'); sys.exit(7)",
    "exit text": "raise SystemExit('bye')",
    "exit none": "raise SystemExit",
    "atexit": "import atexit; atexit.register(print, 'late'); print('first')",
    "destructor": "class A:\n    def __del__(self): print('gone')\na = A()\n",
    "hook": "import sys\nsys.excepthook = lambda *a: print('hooked', a[0].__name__)\n1/0\n",
    "cookie": "# -*- coding: latin-1 -*-\nprint('\u00e9'.encode())\n",
    "imports itself": "import main; print(main.__name__, main.__file__)",
    "imports beside": "import beside; print(beside.__file__, beside.x)",
    "interrupted": "raise KeyboardInterrupt",
    "not utf-8": "print(1) # \udce9",
    "mark": "\ufeffprint('after a mark')",
    "unfinished": "print((1,\n",
    "indented": "if 1:\n\tprint(1)\n        print(2)\n",
    "own exit": "import os; os._exit(9)",
    "warns": "import warnings; warnings.warn('careful')",
    "deep": "def f(): f()\ntry:\n    f()\nexcept RecursionError as e: print(e)\n",
    "stderr": "import sys; print('e', file=sys.stderr); sys.stdout.write('no newline')",
    "modules": "import json, re, random, hashlib; print(json.dumps([1]), random.random() < 1)",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = Path(tmp_path_factory.mktemp("started"))
    config = place / "atoll.toml"
    config.write_text('backends = ["wasm"]\n')
    with serving(place / "data", "--config", str(config)) as running:
        with Atoll(running.url) as atoll:
            until = time.monotonic() + 90
            code = "import encodings; print(encodings.__path__)"
            while "start.zip" not in atoll.execute("python", code).stdout:
                assert time.monotonic() < until
                time.sleep(0.2)  # waits on purpose: the server makes the archive beside its work
        yield running


@pytest.fixture
def atoll(server: Server) -> Iterator[Atoll]:
    with Atoll(server.url) as client:
        yield client


def outcome(atoll: Atoll, argv: list[str], source: str) -> tuple[object, ...]:
    script = source.encode("utf-8", "surrogateescape")
    files = {"main.py": script, "d/main.py": script, "beside.py": b"x = 5", "d/beside.py": b"x = 6"}
    done = atoll.run(argv, files=files, stdin="typed", env={"A": "b", "HOME": "/h"})
    return (done.stdout, done.stderr, done.exit_code, done.reason)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_script_is_what_it_would_be(atoll: Atoll, name: str) -> None:
    source = PROGRAMS[name]
    for script in ("main.py", "/d/main.py") if name != "state" else SPELLINGS:
        atoll.execute("python", "pass")  # so that Python is what starts
        given = outcome(atoll, ["python3", script, "a", "-b"], source)
        assert given == outcome(atoll, ["python3", "-B", script, "a", "-b"], source)


@pytest.mark.parametrize(
    "name", ["state", "raises", "syntax", "exit code", "hook", "imports beside"]
)
def test_code_is_what_it_would_be(atoll: Atoll, name: str) -> None:
    atoll.execute("python", "pass")
    given = outcome(atoll, ["python3", "-c", PROGRAMS[name], "a"], "")
    assert given == outcome(atoll, ["python3", "-B", "-c", PROGRAMS[name], "a"], "")


@pytest.mark.parametrize(
    "argv",
    [
        ["python3", "nowhere.py"],
        ["python3", "d"],
        ["python3", "-c"],
        ["python3", "-m", "json.tool", "-h"],
        ["python3", "-V"],
        ["python3"],
    ],
)
def test_what_only_a_new_one_can_do(atoll: Atoll, argv: list[str]) -> None:
    atoll.execute("python", "pass")
    assert outcome(atoll, argv, "")[2:] == outcome(atoll, [argv[0], "-B", *argv[1:]], "")[2:]


def test_nothing_is_left_of_another(atoll: Atoll) -> None:
    """Each has an interpreter of its own, with seeds of its own."""
    for _ in range(3):
        done = atoll.execute("python", "import sys; print('mark' in dir(sys)); sys.mark = 1")
        assert done.stdout == "False\n"
    code = "import random; print(random.random(), hash('a'))"
    assert len({atoll.execute("python", code).stdout for _ in range(4)}) == 4


def test_a_loop_ends_at_its_time(atoll: Atoll) -> None:
    for language in ("python", "javascript"):
        code = "while True: pass" if language == "python" else "while (true) {}"
        atoll.execute(language, "1")
        done = atoll.execute(language, code, timeout_s=1.0)
        assert (done.reason, done.exit_code) == ("wall_time", None)


def test_javascript_is_what_it_would_be(atoll: Atoll) -> None:
    code = "console.log(scriptArgs.length, process.argv, JSON.stringify(process.env)); nope()"
    ask = partial(atoll.run, ["qjs", "main.js", "a"], files={"main.js": code}, env={"A": "b"})
    atoll.execute("javascript", "1")
    outcomes = [(done.stdout, done.stderr, done.exit_code) for done in (ask(), ask(fuel=10**9))]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][2] == 1
