"""The skips themselves: a facility is either probed or a mistake."""

import pytest

from tests import facilities


@pytest.mark.parametrize("name", sorted(facilities.PROBES))
def test_every_probe_answers(name: str) -> None:
    assert isinstance(facilities.missing(name), str)


def test_a_name_without_a_probe_is_an_error() -> None:
    with pytest.raises(LookupError, match="kvn"):
        facilities.missing("kvn")


def test_root_and_rootless_exclude_each_other() -> None:
    assert bool(facilities.missing("root")) != bool(facilities.missing("rootless"))


@pytest.mark.parametrize("mode", ["root", "rootless"])
def test_expected_skips_name_known_facilities(mode: str) -> None:
    for name, count in facilities.expected_skips(mode).items():
        assert name in facilities.PROBES or name == "other" or name.startswith("cmd:")
        assert count > 0
