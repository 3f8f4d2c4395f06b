import pytest

from atoll.core.errors import InvalidRequest, Unavailable
from atoll.service.languages import Language, Languages
from tests.service.rig import COBOL, SHELL


class Host:
    """A host on which things can be installed."""

    def __init__(self) -> None:
        self.installed: set[str] = {"sh"}
        self.asked = 0

    def __call__(self, language: Language) -> bool:
        self.asked += 1
        return language.name in self.installed


def languages_of(host: Host) -> Languages:
    return Languages({"sh": SHELL, "cobol": COBOL}, available=host)


@pytest.mark.parametrize("name", ["sh", "SH", "shell", "Shell"])
def test_a_language_has_names(name: str) -> None:
    assert languages_of(Host()).get(name) is SHELL


def test_an_unknown_one_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(InvalidRequest, match="sh, cobol") as caught:
        languages_of(Host()).get("x" * 10_000)
    assert caught.value.field == "language"
    assert len(caught.value.detail) < 200


@pytest.mark.anyio
async def test_what_the_host_lacks_is_said_with_its_remedy_until_it_is_there() -> None:
    host = Host()
    languages = languages_of(host)
    await languages.look_for("cobol")
    with pytest.raises(Unavailable, match=r"COBOL.*apt-get install gnucobol"):
        languages.usable("cobol")
    host.installed.add("cobol")
    await languages.look_for("COBOL")
    assert languages.usable("cobol") is COBOL
    asked = host.asked
    await languages.look_for("cobol")
    await languages.look_for("klingon")
    assert host.asked == asked


@pytest.mark.anyio
async def test_all_are_looked_for_at_once() -> None:
    languages = languages_of(Host())
    assert not languages.is_available(SHELL)
    await languages.look_for()
    assert languages.is_available(SHELL)
    assert not languages.is_available(COBOL)


def test_another_image_is_not_judged_by_the_host() -> None:
    assert languages_of(Host()).usable("cobol", image="debian") is COBOL


def test_all_are_listed_in_order() -> None:
    assert [language.name for language in languages_of(Host()).all()] == ["sh", "cobol"]
