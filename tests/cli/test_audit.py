"""`atoll audit`, on real databases that somebody has been at."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

from atoll.cli.commands import app
from atoll.core.chain import PRUNE
from atoll.core.records import Event
from atoll.storage import SqlStore

INSERTED = (
    "INSERT INTO events SELECT 10, at, tenant, actor, action, outcome, sandbox_id, detail, "
    "previous, hash FROM events WHERE seq = 9"
)
BLANK = Event(at=1.0, tenant="reef", actor="key k", action="run", outcome="ok")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    async def fill() -> None:
        async with SqlStore.open(f"sqlite:///{tmp_path}/atoll.db") as store:
            await store.add_events([replace(BLANK, detail={"n": str(n)}) for n in range(9)])

    anyio.run(fill)
    return tmp_path


def tamper(data_dir: Path, *statements: str) -> None:
    connection = sqlite3.connect(data_dir / "atoll.db")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def audit(data_dir: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["audit", *words, "--data-dir", str(data_dir)])
    return result.exit_code, result.output.strip()


def test_a_whole_chain(data_dir: Path) -> None:
    code, said = audit(data_dir, "verify")
    assert code == 0
    assert said.startswith("9 events are whole. The head is 9:")
    code, head = audit(data_dir, "head")
    assert code == 0
    assert said.endswith(head)
    assert audit(data_dir, "verify", "--head", head)[0] == 0


@pytest.mark.parametrize(
    ("statements", "said"),
    [
        (["UPDATE events SET actor = 'nobody' WHERE seq = 4"], "Event 4 was changed"),
        (["UPDATE events SET detail = '{}' WHERE seq = 9"], "Event 9 was changed"),
        (["DELETE FROM events WHERE seq = 4"], "Event 4 is missing"),
        (["DELETE FROM events WHERE seq = 1"], "Event 1 is missing"),
        (["DELETE FROM events WHERE seq > 6"], "Event 7 is missing, and all up to 9"),
        (["DELETE FROM events"], "Event 1 is missing, and all up to 9"),
        (
            [
                "UPDATE events SET seq = 100 WHERE seq = 3",
                "UPDATE events SET seq = 3 WHERE seq = 5",
                "UPDATE events SET seq = 5 WHERE seq = 100",
            ],
            "Event 3 was changed",
        ),
        (
            [INSERTED],
            "Event 10 was changed",
        ),
    ],
)  # fmt: skip
def test_the_first_wrong_event_is_named(
    data_dir: Path, statements: Sequence[str], said: str
) -> None:
    tamper(data_dir, *statements)
    code, output = audit(data_dir, "verify")
    assert code == 1
    assert output.startswith(said)
    assert audit(data_dir, "head")[0] == 1
    code, output = audit(data_dir, "verify", "--json")
    assert code == 1
    assert json.loads(output)["fault"]["seq"] == int(said.split()[1])


def test_a_tail_cut_off_with_its_note_shows_against_a_head(data_dir: Path) -> None:
    _, head = audit(data_dir, "head")
    tamper(
        data_dir,
        "DELETE FROM events WHERE seq > 6",
        "UPDATE counters SET value = 6, digest = (SELECT hash FROM events WHERE seq = 6)",
    )
    assert audit(data_dir, "verify")[0] == 0
    code, output = audit(data_dir, "verify", "--head", head)
    assert code == 1
    assert output.startswith("Event 7 is missing, and all up to 9")


def test_pruned_events_are_no_fault(data_dir: Path) -> None:
    _, head = audit(data_dir, "head")

    async def prune() -> None:
        async with SqlStore.open(f"sqlite:///{data_dir}/atoll.db") as store:
            await store.add_events([replace(BLANK, at=9.0)])
            note = replace(BLANK, at=9.0, action=PRUNE)
            assert await store.prune_events(note, before=5.0, at_most=2**60) == 9

    anyio.run(prune)
    code, output = audit(data_dir, "verify", "--head", head)
    assert code == 0
    assert output.splitlines()[:2] == [
        "Events 1 to 9 were pruned.",
        "The head 9 is older than that: it could not be compared.",
    ]
    tamper(data_dir, "DELETE FROM events WHERE seq = 10")
    assert audit(data_dir, "verify")[1].startswith("Event 10 is missing: the chain begins")


def test_what_cannot_be_checked(tmp_path: Path) -> None:
    assert audit(tmp_path, "verify") == (125, f"atoll: There is no database in {tmp_path}.")
    code, output = audit(tmp_path, "verify", "--file", str(tmp_path / "none"))
    assert (code, "No such file" in output) == (125, True)
    code, output = audit(tmp_path, "verify", "--head", "7")
    assert (code, "SEQ:HASH" in output) == (125, True)
    assert list(tmp_path.iterdir()) == []
