"""Places: no two servers have the same, and each knows its own."""

from pathlib import Path

import pytest

from atoll.core.errors import Unavailable
from atoll.network import places
from atoll.network.places import Places


def test_no_two_have_the_same(tmp_path: Path) -> None:
    one, two = Places(tmp_path / "p", "aaaaaaaa"), Places(tmp_path / "p", "bbbbbbbb")
    taken = [each.take() for _ in range(3) for each in (one, two)]
    assert len({place.number for place in taken}) == 6
    assert len({place.guest4 for place in taken} | {place.gateway4 for place in taken}) == 12
    assert len({place.guest6 for place in taken} | {place.gateway6 for place in taken}) == 12
    assert {place.number for place in one.left_over()} == {taken[i].number for i in (0, 2, 4)}
    one.give_back(taken[0])
    one.give_back(taken[0])
    assert len(one.left_over()) == 2


def test_names_fit_the_kernel_and_addresses_the_pools(tmp_path: Path) -> None:
    last = places.Place(places.PLACES - 1, "abcdef0123456789")
    assert len(last.link) <= 15
    assert last.guest4 == "100.64.255.254"
    assert last.guest6 == "fd61:746f:6c6c::3fff:2"
    assert Places(tmp_path / "none", "a").left_over() == []


def test_when_all_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PLACES", 3)
    mine = Places(tmp_path, "aaaaaaaa")
    first, _ = mine.take(), mine.take()
    with pytest.raises(Unavailable):
        mine.take()
    mine.give_back(first)
    assert mine.take().number == first.number
