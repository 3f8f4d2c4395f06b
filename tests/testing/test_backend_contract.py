"""The suite itself: no case hides another, and a broken backend does not pass."""

from collections import Counter

from atoll.testing import BackendContract


def test_no_case_hides_another() -> None:
    themes = [theme for theme in BackendContract.__mro__ if theme is not BackendContract]
    cases = Counter(name for theme in themes for name in vars(theme) if name.startswith("test_"))
    assert [name for name, count in cases.items() if count > 1] == []
    assert len(cases) > 150
