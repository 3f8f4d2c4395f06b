"""WebAssembly over HTTP: modules, languages, sandboxes, and the least isolation."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.client import Atoll, InvalidRequest, Unavailable
from tests.e2e.server import Server, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.needs("userns")]

ADD = """(module (func (export "add") (param i32 i32) (result i32)
  (i32.add (local.get 0) (local.get 1))) (func (export "boom") unreachable))"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(Path(tmp_path_factory.mktemp("wasm")) / "data") as running:
        yield running


@pytest.fixture
def atoll(server: Server) -> Iterator[Atoll]:
    with Atoll(server.url) as client:
        yield client


def test_a_function_and_its_result(atoll: Atoll) -> None:
    files = {"add.wat": ADD}
    done = atoll.run(["add.wat", "40", "2"], files=files, function="add", backend="wasm")
    assert (done.exit.results, done.exit_code, done.backend) == ((42,), 0, "wasm")
    trapped = atoll.run(["add.wat"], files=files, function="boom", backend="wasm")
    assert (trapped.exit_code, trapped.reason) == (None, "trap")
    assert trapped.exit.detail.startswith("unreachable")


def test_a_function_asks_for_webassembly_by_itself(atoll: Atoll) -> None:
    done = atoll.run(["add.wat", "1", "1"], files={"add.wat": ADD}, function="add", fuel=10_000)
    assert (done.exit.results, done.backend) == ((2,), "wasm")
    with pytest.raises(Exception, match="cannot do: wasm"):
        atoll.run(["add.wat"], files={"add.wat": ADD}, function="add", backend="namespace")


def test_languages(atoll: Atoll) -> None:
    code = "import sys, json; print(json.dumps(1 + 1), sys.platform, sys.argv[1])"
    python = atoll.execute("python", code, args=["x"], min_isolation="interposed")
    assert (python.stdout, python.stderr, python.backend) == ("2 wasi x\n", "", "wasm")
    code = "setTimeout(() => console.log(1 + 1, process.argv[2]), 1)"
    javascript = atoll.execute("javascript", code, args=["x"], backend="wasm")
    assert (javascript.stdout, javascript.stderr) == ("2 x\n", "")
    with pytest.raises(Unavailable, match="does not have Bash"):
        atoll.execute("bash", "echo no", backend="wasm")


def test_every_encoding_of_python(atoll: Atoll) -> None:
    """Also once the archive of what every start imports is there, and has but a few."""
    code = (
        "import encodings, json.tool\n"
        "print('start.zip' in encodings.__path__[0],"
        " '\u00e9'.encode('cp1252'), 'a'.encode('utf-16-le'))"
    )
    until = time.monotonic() + 60
    while True:
        done = atoll.execute("python", code, backend="wasm")
        assert done.stderr == ""
        early, said = done.stdout.split(maxsplit=1)
        assert said == "b'\\xe9' b'a\\x00'\n"
        if early == "True":
            break
        assert time.monotonic() < until
        time.sleep(0.1)  # waits on purpose: the server makes the archive beside its work


def test_a_module_again_and_in_other_places(atoll: Atoll) -> None:
    """A worker that expects the same module, and the same place, is told of others."""
    files = {"add.wat": ADD}
    other = {"b.wat": ADD.replace("i32.add", "i32.mul")}
    for _ in range(3):
        done = atoll.run(["add.wat", "20", "3"], files=files, function="add", backend="wasm")
        assert done.exit.results == (23,)
        done = atoll.run(["b.wat", "20", "3"], files=other, function="add", backend="wasm")
        assert done.exit.results == (60,)
        argv = ["python3", "-c", "import os; print('here' in os.listdir('/'), os.getcwd())"]
        done = atoll.run(argv, files={"here": "1"}, cwd="/tmp", backend="wasm")
        assert (done.stdout, done.stderr) == ("True /\n", "")
        done = atoll.run(argv, files={"there": "1"}, backend="wasm")
        assert (done.stdout, done.stderr) == ("False /\n", "")


def test_a_sandbox(atoll: Atoll) -> None:
    with atoll.sandboxes.create(backend="wasm") as box:
        box.files.write("add.wat", ADD)
        assert box.exec(["add.wat", "2", "3"], function="add").exit.results == (5,)
        box.files.write("data.txt", "kept")
        read = box.exec(language="python", code="print(open('data.txt').read())")
        assert (read.stdout, read.stderr) == ("kept\n", "")
        with pytest.raises(InvalidRequest):
            box.exec(["data.txt"])
    with atoll.sandboxes.create(backend="namespace") as box:
        with pytest.raises(InvalidRequest, match="no functions to call"):
            box.exec(["true"], function="add")
