"""The bench's own client, against a socket that answers in awkward pieces."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from atoll.cli.bench.plain_http import BrokenAnswer, Connection


@contextmanager
def answering(*pieces: bytes) -> Iterator[Connection]:
    """Send the pieces after the first byte of a request, then close."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                peer.recv(65536)
                for piece in pieces:
                    peer.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        connection = Connection("127.0.0.1", listener.getsockname()[1], {})
        yield connection
        connection.close()
        thread.join()


def test_a_counted_body() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 5\r\n\r\nhe", b"llo") as connection:
        answer = connection.send("GET", "/")
    assert (answer.status, answer.body) == (200, b"hello")


def test_a_chunked_body() -> None:
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    with answering(head, b"3\r\nab", b"c\r\n", b"2\r\nde\r\n0\r\n\r\n") as connection:
        assert b"".join(connection.stream("POST", "/", {"a": 1})) == b"abcde"


def test_a_connection_that_ends_early_is_broken() -> None:
    with answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhe") as connection:
        with pytest.raises(BrokenAnswer):
            connection.send("GET", "/")


def test_a_refused_stream_says_why() -> None:
    with answering(b"HTTP/1.1 404 No\r\ncontent-length: 4\r\n\r\nnone") as connection:
        with pytest.raises(BrokenAnswer, match="404"):
            connection.stream("GET", "/x")
