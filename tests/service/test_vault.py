from pathlib import Path

import pytest

from atoll.backends.fake import FakeBackend
from atoll.backends.fake.backend import CAPABILITIES
from atoll.core.errors import Conflict, InvalidRequest
from atoll.core.model import ProcessSpec
from atoll.service.claims import digest_of
from atoll.service.requests import ChangeSandbox, CreateSandbox
from atoll.service.vault import Vault
from atoll.testing.store.samples import sandbox
from tests.service.island import ALICE, argv, island

pytestmark = pytest.mark.anyio

VALUE = "hunter2-correct-horse"
TELL = argv("sh", "-c", "echo $TOKEN")


async def test_programs_see_them_and_records_only_their_names(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("box", secrets={"TOKEN": VALUE}, env={"PLAIN": "1"})
        assert made.secrets == ("TOKEN",)
        assert (await world.processes.run(ALICE, "box", TELL)).stdout == f"{VALUE}\n".encode()
        await world.sandboxes.stop(ALICE, "box")
        assert (await world.processes.run(ALICE, "box", TELL)).stdout == f"{VALUE}\n".encode()
        assert VALUE not in repr(await world.stored())
        assert VALUE not in repr(await world.processes.list(ALICE, "box"))
        await world.audit.flush()
        assert VALUE not in repr(await world.store.list_events(limit=1000))
        await world.sandboxes.update(ALICE, "box", ChangeSandbox(secrets={"OTHER": "x" * 9}))
        assert (await world.processes.run(ALICE, "box", TELL)).stdout == b"\n"
        fork = await world.sandboxes.fork(ALICE, "box")
        assert fork.secrets == ()


async def test_files_are_there_for_each_program(tmp_path: Path) -> None:
    backend = FakeBackend(capabilities={*CAPABILITIES, "secret_files"})
    key = "/run/secrets/key"
    async with island(tmp_path, backend=backend) as world:
        made = await world.create("box", secrets={key: VALUE})
        for _ in range(2):
            result = await world.processes.run(ALICE, "box", argv("cat", key))
            assert result.stdout == VALUE.encode()
        await world.sandboxes.destroy(ALICE, "box")
        assert (await world.sandboxes.post_mortem(ALICE, made.id)).last_output == "***"
        for wrong in ("/etc/passwd", "/run/secrets/../x", "/run/secrets/a\n"):
            with pytest.raises(InvalidRequest):
                await world.create(secrets={wrong: VALUE})


async def test_they_are_lost_with_the_server_and_that_is_said(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        await world.create("box", secrets={"TOKEN": VALUE})
        backend = world.backend
    async with island(tmp_path, backend=backend) as world:
        with pytest.raises(Conflict, match=r"TOKEN .* were lost"):
            await world.processes.run(ALICE, "box", TELL)
        with pytest.raises(Conflict, match=r"TOKEN .* were lost"):
            await world.processes.start(ALICE, "box", TELL)
        await world.files.stat(ALICE, "box", "/workspace")
        again = ChangeSandbox(secrets={"TOKEN": "another"})
        await world.sandboxes.update(ALICE, "box", again)
        assert (await world.processes.run(ALICE, "box", TELL)).stdout == b"another\n"
        await world.sandboxes.update(ALICE, "box", ChangeSandbox(secrets={}))
        assert (await world.processes.run(ALICE, "box", TELL)).stdout == b"\n"


async def test_a_post_mortem_holds_none(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        await world.create("box", secrets={"TOKEN": VALUE})
        own = ProcessSpec(("sh", "-c", "echo $TOKEN; echo $MINE"), env={"MINE": "mine-only"})
        own = ProcessSpec(own.argv, env=own.env, secrets=("MINE",))
        result = await world.processes.run(ALICE, "box", own)
        assert result.stdout == f"{VALUE}\nmine-only\n".encode(), "who asked gets all of it"
        made = await world.sandboxes.destroy(ALICE, "box")
        assert (await world.sandboxes.post_mortem(ALICE, made.id)).last_output == "***\n***\n"
        await world.create("open", env={"TOKEN": VALUE})
        await world.processes.run(ALICE, "open", TELL)
        made = await world.sandboxes.destroy(ALICE, "open")
        assert VALUE in (await world.sandboxes.post_mortem(ALICE, made.id)).last_output


async def test_a_wrong_one_is_refused_without_its_value(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        for wrong in ({"A B": VALUE}, {"TOKEN": f"{VALUE}\0"}, {"TOKEN": VALUE * 10_000}):
            with pytest.raises(InvalidRequest) as refused:
                await world.create(secrets=wrong)
            assert refused.value.field == "secrets"
            assert VALUE not in str(refused.value)


def test_no_value_is_in_a_digest_or_a_repr() -> None:
    one, other = (CreateSandbox(secrets={"TOKEN": value}) for value in ("1234", "5678"))
    assert digest_of(one) == digest_of(other) != digest_of(CreateSandbox(secrets={"T": "1234"}))
    assert "1234" not in repr(one)
    assert "1234" not in repr(ChangeSandbox(secrets={"TOKEN": "1234"}))


def test_output_that_was_cut_within_one() -> None:
    vault, record = Vault(), sandbox(1, secrets=("TOKEN",))
    assert vault.redacted(record, b"anything") == b"", "it does not know what to look for"
    vault.put(record.id, {"TOKEN": VALUE})
    for cut in (VALUE.encode()[3:] + b" and on", b"it was " + VALUE.encode()[:-3]):
        said = vault.redacted(record, cut)
        assert b"***" in said
        assert b"correct" not in said
    assert vault.redacted(record, b"plain") == b"plain"
    vault.forget(record.id)
    assert vault.redacted(sandbox(1), VALUE.encode()) == VALUE.encode()
