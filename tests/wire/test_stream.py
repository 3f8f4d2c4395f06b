"""Frames: what goes in comes out, in pieces of bounded size, and garbage is refused unread."""

import contextlib
import socket
import tempfile
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.wire import stream


@contextlib.contextmanager
def duplexes() -> Iterator[tuple[stream.Duplex, stream.Duplex, socket.socket]]:
    one, two = socket.socketpair()
    with one, two:
        yield stream.Duplex(one), stream.Duplex(two), one


def everything(duplex: stream.Duplex) -> list[bytes]:
    parts: list[bytes] = []
    while part := duplex.read():
        parts.append(part)
    return parts


@given(parts=st.lists(st.binary(max_size=100), max_size=5))
def test_a_round_trip(parts: list[bytes]) -> None:
    with duplexes() as (mine, theirs, _):
        for part in parts:
            mine.send(part)
        mine.end(stream.END, {"n": 1})
        assert everything(theirs) == [part for part in parts if part]
        assert theirs.read() == b""


def test_much_data_goes_in_frames_of_bounded_size() -> None:
    data = bytes(range(256)) * 4096
    with duplexes() as (mine, theirs, _):

        def send() -> None:
            mine.send(memoryview(data))
            mine.end(stream.END, {})

        thread = threading.Thread(target=send)
        thread.start()
        parts = everything(theirs)
        thread.join()
    assert b"".join(parts) == data
    assert max(map(len, parts)) == stream.DATA_MAX


@pytest.mark.parametrize(("offset", "more"), [(0, 0), (3, 0), (0, 5)])
def test_a_file_is_sent_without_reading_and_zeros_for_what_it_lost(offset: int, more: int) -> None:
    data = bytes(range(1, 101)) * 20_000
    size = len(data) - offset + more
    with tempfile.TemporaryFile() as file, duplexes() as (mine, theirs, _):
        file.write(data)
        file.flush()

        def send() -> None:
            mine.send_file(file.fileno(), offset, size)
            mine.end(stream.END, {})

        thread = threading.Thread(target=send)
        thread.start()
        parts = everything(theirs)
        thread.join()
    assert b"".join(parts) == data[offset:] + bytes(more)
    assert max(map(len, parts)) == stream.DATA_MAX


@given(raw=st.binary(min_size=5, max_size=5))
def test_any_five_bytes_are_a_header_or_refused(raw: bytes) -> None:
    try:
        kind, length = stream.parse(raw)
    except stream.BadFrame:
        return
    assert length <= (stream.DATA_MAX if kind == stream.DATA else stream.JSON_MAX)
    assert stream.header(kind, length) == raw


@pytest.mark.parametrize("kind", [stream.DATA, stream.END, stream.ERROR])
def test_lengths_at_the_bound(kind: bytes) -> None:
    bound = stream.DATA_MAX if kind == stream.DATA else stream.JSON_MAX
    assert stream.parse(stream.header(kind, bound)) == (kind, bound)
    with pytest.raises(stream.BadFrame):
        stream.parse(stream.header(kind, bound + 1))


@given(raw=st.binary(max_size=100) | st.text(max_size=50).map(str.encode))
def test_any_body_is_an_object_or_refused(raw: bytes) -> None:
    try:
        assert isinstance(stream.body(raw), dict)
    except stream.BadFrame:
        return


@pytest.mark.parametrize("raw", [b"", b"[]", b"1", b"[" * 60_000, b'{"a":' * 10_000, b"\xff"])
def test_a_body_that_is_none(raw: bytes) -> None:
    with pytest.raises(stream.BadFrame):
        stream.body(raw)


@given(raw=st.binary(max_size=60))
def test_any_bytes_on_the_wire_end_in_a_known_way(raw: bytes) -> None:
    with duplexes() as (_, theirs, sock):
        sock.sendall(raw)
        sock.close()
        with contextlib.suppress(stream.BadFrame, stream.Cut):
            everything(theirs)


@pytest.mark.parametrize("raw", [b"", b"D", b"D\0\0\0\5", b"D\0\0\0\5abc", b"D\0\0\0\1a"])
def test_a_stream_that_is_cut(raw: bytes) -> None:
    """The sender has given up: what came must not pass for the whole."""
    with duplexes() as (_, theirs, sock):
        sock.sendall(raw)
        sock.close()
        with pytest.raises(stream.Cut):
            everything(theirs)
