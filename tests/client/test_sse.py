from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.client.sse import EventParser, ServerEvent

STREAM = (
    b": keep-alive\n\n"
    b'id: 1\nevent: stdout\ndata: {"data": "\xc3\xa4"}\n\n'
    b"data: a\r\ndata: b\r\n\r\n"
    b"id: 7\n\n"
    b"event: exit\ndata:no space\n\n"
    b"data: never ended"
)
EVENTS = [
    ServerEvent("stdout", '{"data": "ä"}', "1"),
    ServerEvent("message", "a\nb", "1"),
    ServerEvent("exit", "no space", "7"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_borders_of_chunks_do_not_matter(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(STREAM)]
    parser = EventParser()
    found: list[ServerEvent] = []
    for begin, end in pairwise(places):
        found += parser.feed(STREAM[begin:end])
    assert found == EVENTS


def test_a_line_without_end_is_bounded() -> None:
    parser = EventParser()
    with pytest.raises(ValueError, match="16 MiB"):
        for _ in range(20):
            parser.feed(b"x" * 1024 * 1024)
