"""Datagrams: what goes in comes out, and nothing that comes in does harm."""

import json
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.wire import message

WORDS = st.text(max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=10,
)
HEADERS = st.dictionaries(WORDS, VALUES, max_size=5)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, two:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        yield one, two


@given(header=HEADERS, blob=st.binary(max_size=200))
def test_a_round_trip(header: message.Header, blob: bytes) -> None:
    assert message.decode(message.encode(header, blob)) == (header, blob)


@given(data=st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    try:
        header, blob = message.decode(data)
    except message.BadMessage:
        return
    assert isinstance(header, dict)
    assert data.endswith(blob)


@given(head=st.binary(max_size=100), blob=st.binary(max_size=20), lie=st.integers(-3, 3))
def test_any_header_is_a_message_or_refused(head: bytes, blob: bytes, lie: int) -> None:
    data = struct.pack(">I", max(0, len(head) + lie)) + head + blob
    try:
        message.decode(data)
    except message.BadMessage:
        return


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"[]",
        b"null",
        b"1",
        b'"x"',
        b"{",
        b"\xff\xfe",
        b'{"a": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b"9" * 10_000,
    ],
)
def test_a_header_that_is_none(head: bytes) -> None:
    with pytest.raises(message.BadMessage):
        message.decode(struct.pack(">I", len(head)) + head)


@pytest.mark.parametrize("data", [b"", b"\0", b"\0\0\0", b"\xff\xff\xff\xff{}", b"\0\0\0\3{}"])
def test_a_length_that_is_out_of_range(data: bytes) -> None:
    with pytest.raises(message.BadMessage):
        message.decode(data)


def test_too_long_a_message_is_refused_before_it_is_sent() -> None:
    with pytest.raises(message.BadMessage):
        message.encode({"x": "y" * message.HEADER_MAX})
    with pytest.raises(message.BadMessage):
        message.encode({}, bytes(message.MESSAGE_MAX))
    room = message.MESSAGE_MAX - len(message.encode({}))
    assert len(message.encode({}, bytes(room))) == message.MESSAGE_MAX


def test_the_longest_message_travels(pair: tuple[socket.socket, socket.socket]) -> None:
    blob = os.urandom(message.MESSAGE_MAX - len(message.encode({"a": 1})))
    message.send(pair[0], {"a": 1}, blob)
    assert message.receive(pair[1]) == ({"a": 1}, blob, [])


def test_a_message_longer_than_any_is_refused_and_the_next_one_read(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    pair[0].send(bytes(message.MESSAGE_MAX + 1))
    message.send(pair[0], {"next": True})
    with pytest.raises(message.BadMessage):
        message.receive(pair[1])
    assert message.receive(pair[1]) == ({"next": True}, b"", [])


def test_descriptors_travel_with_their_message(pair: tuple[socket.socket, socket.socket]) -> None:
    reading, writing = os.pipe()
    message.send(pair[0], {"n": 1})
    message.send(pair[0], {"n": 2}, b"blob", (writing,))
    os.close(writing)
    assert message.receive(pair[1]) == ({"n": 1}, b"", [])
    received = message.receive(pair[1])
    assert received is not None
    header, blob, (fd,) = received
    assert (header, blob) == ({"n": 2}, b"blob")
    assert not os.get_inheritable(fd)
    os.write(fd, b"through")
    os.close(fd)
    assert os.read(reading, 10) == b"through"
    os.close(reading)


@pytest.mark.parametrize("count", [1, message.FDS_MAX, message.FDS_MAX + 1, 100])
def test_descriptors_of_a_bad_message_are_closed(
    pair: tuple[socket.socket, socket.socket], count: int
) -> None:
    """A guest that sends them with garbage must not fill our table of descriptors."""
    memory = os.memfd_create("bad")
    socket.send_fds(pair[0], [b"garbage"], [memory] * count)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(message.BadMessage):
        message.receive(pair[1])
    assert len(os.listdir("/proc/self/fd")) == before
    os.close(memory)


def test_the_end(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].close()
    assert message.receive(pair[1]) is None


def test_odd_text_survives() -> None:
    header = {"argv": ["\udcff", "ü", "\0", "\u2028"]}
    assert message.decode(message.encode(header))[0] == header
    assert json.loads(message.encode(header)[4:]) == header
