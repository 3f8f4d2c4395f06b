"""What a waiting worker does with its time works, though nobody looks at how it ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.guest.wasm import engine, runner
from atoll.guest.wasm.report import Report


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Engines that live until the interpreter ends complain about it."""
    yield
    for each in (engine.trifle, engine.trusted, engine.linker, engine._engine):
        each.cache_clear()


def test_the_trifle_runs_in_the_engine_of_the_workers(tmp_path: Path) -> None:
    ends: list[Report] = []
    task = runner.Task(["trifle"], {}, [(str(tmp_path), "/", True)], stdio=False)
    runner.run(task, engine.trifle, ends.append)
    assert [(end.reason, end.code) for end in ends] == [("exited", 0)]


def test_compiled_code_runs_where_it_was_not_compiled(tmp_path: Path) -> None:
    text = b'(module (func (export "three") (result i32) (i32.const 3)))'
    path = tmp_path / "code"
    path.write_bytes(engine.artefact(text, fuel=False))
    ends: list[Report] = []
    task = runner.Task(["m"], {}, [], invoke="three", stdio=False)
    runner.run(task, lambda: engine.trusted(str(path), fuel=False), ends.append)
    assert ends[0].results == (3,)


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"\x7fELF" + bytes(100)])
def test_code_that_is_none_is_stale(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "code"
    path.write_bytes(damage)
    ends: list[Report] = []
    task = runner.Task(["m"], {}, [], stdio=False)
    runner.run(task, lambda: engine.trusted(str(path), fuel=False), ends.append)
    assert ends[0].reason == "stale"
