from dataclasses import replace

import pytest

from atoll.core.errors import Busy
from atoll.service.quotas import Quotas
from tests.service.rig import ALICE, BOB


def test_so_many_at_once_and_no_more() -> None:
    quotas = Quotas(retry_after_s=3.0)
    caller = replace(ALICE, max_concurrent=2)
    with quotas.running(caller), quotas.running(caller):
        with pytest.raises(Busy) as caught, quotas.running(caller):
            pytest.fail("was let in")
        assert caught.value.retry_after_s == 3.0
        with quotas.running(BOB):
            assert quotas.in_use("bob") == 1
    assert quotas.in_use("alice") == 0


def test_keys_of_one_tenant_count_together() -> None:
    quotas = Quotas()
    with (
        quotas.running(replace(ALICE, key_id="k7")),
        pytest.raises(Busy),
        quotas.running(replace(ALICE, max_concurrent=1)),
    ):
        pytest.fail("was let in")


def test_an_error_gives_the_place_back() -> None:
    quotas = Quotas()
    with pytest.raises(ValueError), quotas.running(ALICE):
        raise ValueError
    assert quotas.in_use("alice") == 0
