import re
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from atoll.core.errors import Forbidden, InvalidRequest, NotFound, Unauthenticated
from atoll.core.store import Store
from atoll.service import keys as module
from atoll.service.audit import Audit
from atoll.service.keys import KeyQuotas, Keys
from atoll.storage import SqlStore
from tests.service.rig import ALICE, EventStore, TurnedClock

pytestmark = pytest.mark.anyio

ADMIN = replace(ALICE, admin=True)


@pytest.fixture
async def store() -> AsyncGenerator[Store, None]:
    async with SqlStore.open("sqlite://") as opened:
        yield opened


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


def keys_of(store: Store, clock: TurnedClock) -> Keys:
    audit = Audit(store=EventStore().as_store(), clock=clock)
    return Keys(store=store, clock=clock, audit=audit, defaults=KeyQuotas(7, 9))


@pytest.fixture
def keys(store: Store, clock: TurnedClock) -> Keys:
    return keys_of(store, clock)


async def test_a_key_is_known_again(keys: Keys) -> None:
    record, plaintext = await keys.create(
        ADMIN, name="ci", tenant="acme", quotas=KeyQuotas(max_sandboxes=3)
    )
    assert re.fullmatch(r"atoll_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", plaintext)
    assert plaintext.startswith(f"{record.prefix}_")
    caller = await keys.authenticate(plaintext)
    assert (caller.tenant, caller.actor, caller.key_id) == ("acme", "ci", record.id)
    assert (caller.admin, caller.max_sandboxes, caller.max_concurrent) == (False, 3, 9)


async def test_the_key_itself_is_nowhere(keys: Keys, store: Store) -> None:
    record, plaintext = await keys.create(ADMIN, name="ci")
    secret = plaintext.rpartition(record.prefix)[2]
    assert secret not in repr(await store.list_keys())
    assert secret not in repr(keys._audit._pending)


@pytest.mark.parametrize(
    "wrong", ["", "atoll_", "atoll_00000000_" + "x" * 43, "sk-123", "atoll_é\0", "atoll_" * 1000]
)
async def test_a_wrong_key_is_nobodys(keys: Keys, wrong: str) -> None:
    await keys.create(ADMIN, name="ci")
    with pytest.raises(Unauthenticated):
        await keys.authenticate(wrong)


async def test_a_revoked_key_is_refused_at_once(keys: Keys) -> None:
    record, plaintext = await keys.create(ADMIN, name="ci")
    await keys.authenticate(plaintext)
    await keys.revoke(ADMIN, record.id)
    with pytest.raises(Unauthenticated):
        await keys.authenticate(plaintext)
    with pytest.raises(NotFound):
        await keys.revoke(ADMIN, record.id)


async def test_a_key_revoked_by_another_server_is_refused_after_30_s(
    keys: Keys, store: Store, clock: TurnedClock
) -> None:
    record, plaintext = await keys.create(ADMIN, name="ci")
    await keys.authenticate(plaintext)
    await keys_of(store, clock).revoke(ADMIN, record.id)
    clock.at += 29
    await keys.authenticate(plaintext)
    clock.at += 1
    with pytest.raises(Unauthenticated):
        await keys.authenticate(plaintext)


async def test_a_key_expires_though_it_was_just_used(keys: Keys, clock: TurnedClock) -> None:
    _, plaintext = await keys.create(ADMIN, name="ci", expires_at=clock.at + 5)
    await keys.authenticate(plaintext)
    clock.at += 5
    with pytest.raises(Unauthenticated, match="expired"):
        await keys.authenticate(plaintext)


async def test_what_is_remembered_has_a_bound(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_CACHED", 2)
    for number in range(5):
        _, plaintext = await keys.create(ADMIN, name=str(number))
        await keys.authenticate(plaintext)
        assert len(keys._known) <= 2


async def test_only_an_admin_manages_keys(keys: Keys) -> None:
    with pytest.raises(Forbidden):
        await keys.create(ALICE, name="mine")
    with pytest.raises(Forbidden):
        await keys.list(ALICE)
    with pytest.raises(Forbidden):
        await keys.revoke(ALICE, "key_1")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"tenant": ""}, "tenant"),
        ({"tenant": "../x"}, "tenant"),
        ({"tenant": "x" * 64}, "tenant"),
        ({"expires_at": 999.0}, "expires_at"),
        ({"expires_at": float("nan")}, "expires_at"),
        ({"quotas": KeyQuotas(max_sandboxes=-1)}, "max_sandboxes"),
        ({"quotas": KeyQuotas(max_concurrent=-1)}, "max_concurrent"),
    ],
)
async def test_what_is_wrong_is_refused(keys: Keys, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await keys.create(ADMIN, **{"name": "ci", **changes})
    assert caught.value.field == field
    assert await keys.list(ADMIN) == []


async def test_making_and_revoking_are_in_the_audit_log(keys: Keys) -> None:
    record, _ = await keys.create(ADMIN, name="ci")
    await keys.revoke(ADMIN, record.id)
    events = list(keys._audit._pending)
    assert [(event.action, event.detail["key"]) for event in events] == [
        ("key.create", record.id),
        ("key.revoke", record.id),
    ]


async def test_the_loopback_and_the_admin_have_the_defaults(keys: Keys) -> None:
    for caller, actor in ((keys.anonymous(), "anonymous"), (keys.administrator(), "admin")):
        assert (caller.tenant, caller.actor, caller.admin) == ("default", actor, True)
        assert (caller.key_id, caller.max_sandboxes, caller.max_concurrent) == (None, 7, 9)
