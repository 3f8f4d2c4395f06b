import base64
import json

from hypothesis import given
from hypothesis import strategies as st

from atoll.core.model import Channel
from atoll.http.text import OutputEvents, unfinished
from tests.http.rig import events_of

CHANNELS = st.sampled_from([Channel.STDOUT, Channel.STDERR])
PIECES = st.one_of(
    st.binary(min_size=1, max_size=6),
    st.text(min_size=1, max_size=4).map(lambda text: text.encode("utf-8", "surrogatepass")),
)


def _decode(data: str) -> bytes:
    body = json.loads(data)
    if body["encoding"] == "base64":
        return base64.b64decode(body["data"])
    return str(body["data"]).encode()


def _told(chunks: list[tuple[Channel, bytes]], start: int = 0) -> list[tuple[int, str, bytes]]:
    output, position, text = OutputEvents(), start, b""
    for channel, data in chunks:
        position += len(data)
        text += output.chunk(channel, data, position)
    text += output.rest(position)
    return [(int(place), kind, _decode(data)) for place, kind, data in events_of(text.decode())]


@given(st.lists(st.tuples(CHANNELS, PIECES), max_size=12))
def test_every_byte_arrives_and_every_id_can_be_resumed_from(
    chunks: list[tuple[Channel, bytes]],
) -> None:
    merged = [(channel, bytes([byte])) for channel, data in chunks for byte in data]
    events = _told(chunks)
    sent = [(Channel(kind), bytes([byte])) for _, kind, data in events for byte in data]
    assert sent == merged
    done = 0
    for place, _, data in events:
        done += len(data)
        assert place == done


def test_a_character_over_two_chunks_is_one_event() -> None:
    euro = "€".encode()
    events = _told([(Channel.STDOUT, b"a" + euro[:2]), (Channel.STDOUT, euro[2:] + b"b")])
    assert events == [(1, "stdout", b"a"), (5, "stdout", euro + b"b")]


def test_what_is_no_text_is_exact() -> None:
    output = OutputEvents()
    [(_, _, data)] = events_of(output.chunk(Channel.STDOUT, b"\xffa", 2).decode())
    assert json.loads(data) == {"data": base64.b64encode(b"\xffa").decode(), "encoding": "base64"}


def test_skipped_is_said() -> None:
    output = OutputEvents()
    [(place, _, data)] = events_of(output.chunk(Channel.STDERR, b"x", 101, 100).decode())
    assert (place, json.loads(data)["skipped"]) == ("101", 100)


def test_base64_on_demand() -> None:
    output = OutputEvents(base64=True)
    [(_, _, data)] = events_of(output.chunk(Channel.STDOUT, "€".encode()[:1], 1).decode())
    assert json.loads(data)["encoding"] == "base64"


def test_unfinished() -> None:
    for character in ("é", "€", "😀"):
        raw = character.encode()
        for cut in range(1, len(raw)):
            assert unfinished(b"a" + raw[:cut]) == raw[:cut]
        assert unfinished(raw) == b""
    assert unfinished(b"\x80\x80\x80\x80") == b""
    assert unfinished(b"\xff") == b""


def test_clients_that_split_lines_their_own_way_find_whole_events() -> None:
    """`str.splitlines` also cuts at U+0085, U+2028 and U+2029, and many a client uses it."""
    said = "".join(map(chr, range(0x20))) + "a\x7f\x85b\u2028c\u2029d\xc2\ufeff"
    sent = OutputEvents().chunk(Channel.STDOUT, said.encode(), 1).decode()
    assert sent.splitlines() == sent.split("\n")[:-1]
    assert [_decode(data).decode() for _, _, data in events_of(sent)] == [said]
