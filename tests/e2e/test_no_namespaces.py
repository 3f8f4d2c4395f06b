"""A whole server on a host where no namespaces can be made: WebAssembly runs, and nothing else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.client import Atoll, Unavailable
from tests.e2e.server import Server, serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

# What container engines do to those whom they run: a filter that all children inherit.
HARDENED = """
import os, sys
import pyseccomp as sc
held = sc.SyscallFilter(defaction=sc.ALLOW)
for name in ("unshare", "setns", "mount", "pivot_root", "umount2"):
    held.add_rule(sc.ERRNO(1), name)
held.add_rule(sc.ERRNO(38), "clone3")
for flag in (0x10000000, 0x20000000, 0x00020000, 0x40000000, 0x08000000, 0x04000000, 0x02000000):
    held.add_rule(sc.ERRNO(1), "clone", sc.Arg(0, sc.MASKED_EQ, flag, flag))
held.load()
os.execv(sys.argv[1], sys.argv[1:])
"""
ADD = """(module (func (export "add") (param i32 i32) (result i32)
  (i32.add (local.get 0) (local.get 1))))"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    place = Path(tmp_path_factory.mktemp("hardened")) / "data"
    with serving(place, through=(sys.executable, "-c", HARDENED)) as running:
        yield running


@pytest.fixture
def atoll(server: Server) -> Iterator[Atoll]:
    with Atoll(server.url) as client:
        yield client


def test_which_workers_it_has_is_told(atoll: Atoll) -> None:
    found = {each.name: each for each in atoll.backends()}
    assert not found["namespace"].usable
    assert found["wasm"].usable
    assert found["wasm"].facts["workers"] == "plain"


def test_a_function_and_a_sandbox(atoll: Atoll) -> None:
    files = {"add.wat": ADD}
    done = atoll.run(["add.wat", "40", "2"], files=files, function="add")
    assert (done.exit.results, done.backend) == ((42,), "wasm")
    with atoll.sandboxes.create(backend="wasm") as box:
        box.files.write("add.wat", ADD)
        assert box.exec(["add.wat", "2", "3"], function="add").exit.results == (5,)


def test_nothing_native_runs(atoll: Atoll) -> None:
    with pytest.raises(Unavailable):
        atoll.run(["/bin/true"], backend="namespace")
