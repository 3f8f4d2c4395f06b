"""Code that gives back a JSON value, in each language that can, in fresh and kept sandboxes."""

from collections.abc import Iterator
from typing import Any

import pytest

from atoll.client import Atoll, InvalidRequest
from atoll.client.model import Finished, Output, Result
from tests.e2e.server import Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60), pytest.mark.needs("userns")]

# How each says the same; `{}` is JSON.
SET = {
    "python": "import atoll_result, json\natoll_result.set(json.loads('''{}'''))",
    "javascript": "result.set({})",
    "typescript": "result.set({} as unknown)",
}
FAIL = {
    "python": "import atoll_result\natoll_result.error('bad')\nprint('after')",
    "javascript": "result.error('bad'); console.log('after')",
    "typescript": "result.error('bad'); console.log('after')",
}
RAISE = {
    "python": "print('before')\nraise ValueError('boom')",
    "javascript": "console.log('before'); throw new TypeError('boom')",
    "typescript": "console.log('before'); throw new TypeError('boom')",
}
EACH = pytest.mark.parametrize(
    "language",
    [
        pytest.param("python", marks=pytest.mark.needs("python3")),
        pytest.param("javascript", marks=pytest.mark.needs("node")),
        pytest.param("typescript", marks=pytest.mark.needs("deno")),
    ],
)


@pytest.fixture
def atoll(server: Server) -> Iterator[Atoll]:
    with Atoll(server.url) as client:
        yield client


@EACH
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, null, "x"], "b": {}}', {"a": [1, None, "x"], "b": {}}),
        ("[1.5, true]", [1.5, True]), ('"text"', "text"), ("0", 0), ("null", None),
    ],
)  # fmt: skip
def test_a_value(atoll: Atoll, language: str, text: str, value: Any) -> None:
    done = atoll.execute(language, SET[language].replace("{}", text, 1), structured=True)
    assert (done.result, done.error, done.exit_code) == (value, None, 0), done
    assert (done.stdout, done.stderr) == ("", "")


@EACH
def test_errors(atoll: Atoll, language: str) -> None:
    done = atoll.execute(language, FAIL[language], structured=True)
    assert done.error == {"name": "Error", "message": "bad"}
    assert (done.exit_code, done.stdout) == (1, "after\n")
    done = atoll.execute(language, RAISE[language], structured=True)
    assert (done.error["message"], done.exit_code, done.stdout) == ("boom", 1, "before\n")
    assert "boom" in done.error["stack"]
    assert "run.py" not in done.error["stack"]


@EACH
def test_without_it_nothing_differs(atoll: Atoll, language: str) -> None:
    done = atoll.execute(language, RAISE[language])
    assert (done.result, done.error, done.exit_code) == (None, None, 1)
    assert "boom" in done.stderr
    done = atoll.execute(language, SET[language].replace("{}", "1", 1))
    assert done.exit_code == 1


@EACH
def test_arguments_and_input_are_the_programs_own(atoll: Atoll, language: str) -> None:
    code = {
        "python": "import atoll_result, sys\natoll_result.set([sys.argv, sys.stdin.read()])",
        "javascript": "result.set([process.argv.slice(1), fs.readFileSync(0, 'utf8')])",
        "typescript": "import fs from 'node:fs'\n"
        "result.set([['main.ts', ...Deno.args], fs.readFileSync(0, 'utf8')])",
    }[language]
    code = code if language != "javascript" else f"const fs = require('fs');\n{code}"
    done = atoll.execute(language, code, args=["a b"], stdin="fed", structured=True)
    (program, *args), fed = done.result
    assert (program.rpartition("/")[2].partition(".")[0], args, fed) == ("main", ["a b"], "fed")


@EACH
def test_in_a_kept_sandbox(atoll: Atoll, language: str) -> None:
    with atoll.sandboxes.create() as box:
        code = SET[language].replace("{}", "[1]", 1)
        done = box.exec(language=language, code=code, structured=True)
        assert (done.result, done.stdout) == ([1], "")
        with pytest.raises(InvalidRequest, match="structured"):
            box.exec("true", structured=True)


@EACH
def test_in_a_stream(atoll: Atoll, language: str) -> None:
    code = SET[language].replace("{}", "[1]", 1)
    seen = list(atoll.execute_stream(language, code, structured=True))
    assert not [each for each in seen if isinstance(each, Output)]
    assert isinstance(seen[-1], Finished)
    assert (seen[-1].result, seen[-1].exit.exit_code) == ([1], 0)


@pytest.mark.needs("node")
def test_odd_text(atoll: Atoll) -> None:
    code = r"result.set('\ud800')"
    assert atoll.execute("javascript", code, structured=True).result == "\ud800"
    last = list(atoll.execute_stream("javascript", code, structured=True))[-1]
    assert isinstance(last, Finished)
    assert last.result == "\ud800"


def test_what_cannot(atoll: Atoll) -> None:
    with pytest.raises(InvalidRequest, match="structured"):
        atoll.execute("bash", "true", structured=True)
    with pytest.raises(InvalidRequest, match="structured"):
        atoll.run("true", structured=True)


@pytest.mark.needs("python3")
def test_python_as_it_is(atoll: Atoll) -> None:
    code = "import __main__, sys\nassert __name__ == '__main__' and sys.argv == ['main.py']\n"
    code += "assert __main__.__file__ == 'main.py', __file__\nsys.exit('why')"
    done: Result = atoll.execute("python", code, structured=True)
    assert (done.exit_code, done.stderr, done.error) == (1, "why\n", None)
    for odd in ("float('nan')", "object()", "[0] * 3_000_000"):
        code = f"import atoll_result\natoll_result.set({odd})"
        done = atoll.execute("python", code, structured=True)
        assert (done.exit_code, done.error["name"] in {"ValueError", "TypeError"}) == (1, True)
