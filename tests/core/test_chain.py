"""Which event is named when somebody has been at the chain."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from atoll.core.chain import PRUNE, Check, Fault, Head, digest, extend
from atoll.core.errors import InvalidRequest
from atoll.core.records import Event

BLANK = Event(at=1.0, tenant="reef", actor="key k", action="run", outcome="ok")


def chain(count: int = 9) -> list[Event]:
    return extend(Head(), [replace(BLANK, detail={"n": str(n)}) for n in range(1, count + 1)])


def rehashed(event: Event, **changes: object) -> Event:
    event = replace(event, **changes)  # type: ignore[arg-type]
    return replace(event, hash=digest(event))


def fault(events: Sequence[Event], *heads: Head) -> Fault | None:
    check = Check(*heads)
    for event in events:
        check.see(event)
    return check.finish()


def head_of(events: Sequence[Event]) -> Head:
    return Head(events[-1].seq, events[-1].hash)


def test_a_chain_that_was_left_alone() -> None:
    events = chain()
    assert fault(events, head_of(events), head_of(events[:4])) is None
    assert fault([]) is None


@pytest.mark.parametrize("seq", [1, 5, 9])
def test_changed(seq: int) -> None:
    events = chain()
    events[seq - 1] = replace(events[seq - 1], actor="nobody")
    found = fault(events, head_of(chain()))
    assert found is not None
    assert found.seq == seq
    assert "was changed" in found.what


def test_changed_with_a_hash_that_fits() -> None:
    events = chain()
    events[4] = rehashed(events[4], actor="nobody")
    found = fault(events)
    assert found is not None
    assert found.seq == 5
    assert "was replaced" in found.what


@pytest.mark.parametrize("seq", [1, 5])
def test_removed(seq: int) -> None:
    events = chain()
    del events[seq - 1]
    found = fault(events)
    assert found is not None
    assert found.seq == seq
    assert "is missing" in found.what


def test_removed_and_the_rest_renumbered() -> None:
    events = chain()
    later = [replace(event, seq=event.seq - 1) for event in events[5:]]
    found = fault([*events[:4], *later])
    assert found is not None
    assert found.seq == 5


def test_inserted() -> None:
    events = chain()
    extra = rehashed(replace(BLANK, actor="made up"), seq=5, previous=events[3].hash)
    later = [replace(event, seq=event.seq + 1) for event in events[4:]]
    found = fault([*events[:4], extra, *later])
    assert found is not None
    assert found.seq == 5
    assert "was inserted" in found.what


def test_reordered() -> None:
    events = chain()
    events[3], events[6] = events[6], events[3]
    found = fault(events)
    assert found is not None
    assert found.seq == 4
    swapped = chain()
    swapped[3], swapped[6] = replace(swapped[6], seq=4), replace(swapped[3], seq=7)
    found = fault(swapped)
    assert found is not None
    assert found.seq == 4


def test_a_cut_off_end_shows_against_a_head() -> None:
    events = chain()
    assert fault(events[:6]) is None
    found = fault(events[:6], head_of(events))
    assert found is not None
    assert found.seq == 7
    assert "cut off" in found.what
    assert fault([], head_of(events)) == Fault(1, "is missing, and all up to 9")


def test_a_rewritten_chain_shows_against_a_head() -> None:
    forged = extend(Head(), [replace(BLANK, actor="nobody")] * 9)
    assert fault(forged) is None
    found = fault(forged, head_of(chain()))
    assert found is not None
    assert "was rewritten" in found.what


def test_a_beginning_may_be_missing_only_where_the_chain_says_so() -> None:
    events = chain()
    detail = {"through": "4", "hash": events[3].hash, "events": "4"}
    pruned = [*events[4:], *extend(head_of(events), [replace(BLANK, action=PRUNE, detail=detail)])]
    assert fault(pruned) is None
    found = fault(pruned[1:])
    assert found is not None
    assert found.seq == 5
    other = extend(head_of(events), [replace(BLANK, action=PRUNE, detail=detail | {"hash": "x"})])
    assert fault([*events[4:], *other]) is not None
    lie = extend(head_of(events), [replace(BLANK, action="run", detail=detail)])
    assert fault([*events[4:], *lie]) is not None


@pytest.mark.parametrize(
    "text", ["", "1", "1:ab", ":" + "0" * 64, "1:" + "g" * 64, "-1:" + "0" * 64]
)
def test_what_is_no_head(text: str) -> None:
    with pytest.raises(InvalidRequest):
        Head.parse(text)


def test_a_head_is_read_as_it_is_shown() -> None:
    head = head_of(chain())
    assert Head.parse(str(head)) == head
