import anyio
import pytest
from argon2 import PasswordHasher

from atoll.core.errors import Busy, Forbidden
from atoll.service.login import Login, hash_password

pytestmark = pytest.mark.anyio

CHEAP = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1).hash("open sesame")


async def test_the_password_is_known_and_others_are_not() -> None:
    login = Login(CHEAP)
    assert login.enabled
    assert await login.verify("open sesame")
    for wrong in ("", "open sesame ", "\ud800", "x" * 100_000):
        assert not await login.verify(wrong)


async def test_a_broken_hash_lets_nobody_in() -> None:
    assert not await Login("plain text").verify("plain text")


async def test_without_a_password_nobody_logs_in() -> None:
    login = Login(None)
    assert not login.enabled
    with pytest.raises(Forbidden):
        await login.verify("")


async def test_a_flood_is_refused() -> None:
    login = Login(CHEAP)
    outcomes: list[str] = []

    async def attempt() -> None:
        try:
            outcomes.append(str(await login.verify("wrong")))
        except Busy:
            outcomes.append("busy")

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(attempt)
    assert outcomes.count("busy") == 12
    assert await login.verify("open sesame")


def test_a_hash_is_argon2_and_salted() -> None:
    first = hash_password("x")
    assert first.startswith("$argon2id$")
    assert first != hash_password("x")
