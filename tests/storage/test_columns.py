import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from atoll.core.errors import InvalidRequest
from atoll.storage.columns import (
    MAX_KEY_BYTES,
    check_keys,
    escape,
    label_pair,
    label_words,
    unescape,
)
from atoll.testing.store.samples import ODD_TEXTS

anything = st.text(st.characters(codec=None), max_size=20)


@given(anything)
@example("\\u0000")
@example("\\\\u0000")
@example("\ud83d\ude00")
def test_escape_is_undone_exactly_and_can_be_stored(text: str) -> None:
    stored = escape(text)
    assert unescape(stored) == text
    assert "\0" not in stored
    stored.encode()


def test_ordinary_text_is_stored_as_it_is() -> None:
    for text in ("", "sb_01", "büro 日本 😀", "a/b?c%d'\""):
        assert escape(text) == text


def test_odd_texts_stay_different() -> None:
    assert len({escape(text) for text in ODD_TEXTS}) == len(ODD_TEXTS)


@given(anything, anything, anything, anything)
def test_labels_have_the_same_word_only_when_they_are_the_same(
    key: str, value: str, other_key: str, other_value: str
) -> None:
    same = (key, value) == (other_key, other_value)
    assert (label_pair(key, value) == label_pair(other_key, other_value)) == same


def test_the_words_of_labels_are_all_there() -> None:
    labels = dict.fromkeys(ODD_TEXTS, "x")
    assert set(label_words(labels).split()) == {label_pair(text, "x") for text in ODD_TEXTS}
    assert label_words({}) == ""


def test_strings_that_are_indexed_have_a_bound() -> None:
    check_keys(name="n" * MAX_KEY_BYTES, id=None)
    for text in ("n" * (MAX_KEY_BYTES + 1), "é" * MAX_KEY_BYTES, "\0" * MAX_KEY_BYTES):
        with pytest.raises(InvalidRequest) as caught:
            check_keys(id="fine", name=text)
        assert caught.value.field == "name"
