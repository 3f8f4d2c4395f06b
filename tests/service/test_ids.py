import string

from hypothesis import given
from hypothesis import strategies as st

from atoll.service.ids import new_id

MOMENTS = st.integers(0, 2**47)


def test_an_id_has_its_prefix_and_26_characters() -> None:
    prefix, _, rest = new_id("sb").partition("_")
    assert prefix == "sb"
    assert len(rest) == 26
    assert set(rest) <= set(string.ascii_lowercase + string.digits)


@given(MOMENTS, MOMENTS)
def test_ids_sort_by_the_time_of_making(one: int, other: int) -> None:
    first, second = new_id("sb", at=one / 1000), new_id("sb", at=other / 1000)
    if int(one / 1000 * 1000) < int(other / 1000 * 1000):
        assert first < second
    elif int(one / 1000 * 1000) > int(other / 1000 * 1000):
        assert first > second


def test_ids_of_one_moment_differ() -> None:
    assert len({new_id("sb", at=1.0) for _ in range(1000)}) == 1000


def test_an_id_is_of_now() -> None:
    assert new_id("x", at=1_700_000_000) < new_id("x") < new_id("x", at=8_000_000_000)
