"""HTTP/1.1 over one kept connection: a few lines, so that the client costs next to nothing."""

import json
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import BinaryIO

_CHUNK = 256 * 1024
_LINE = 64  # enough for the size of a chunk, and little of what follows it
_DEADLINE_S = 120.0
_END = b"\r\n"


class BrokenAnswer(Exception):
    """The server closed the connection, or answered what is not HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status and a whole body."""

    status: int
    body: bytes

    def document(self) -> dict[str, object]:
        """The body as a JSON object."""
        parsed: dict[str, object] = json.loads(self.body)
        return parsed


def encode(
    method: str,
    path: str,
    host: str,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Connection:
    """One kept connection. Not for several threads."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        self._address = (host, port)
        self._host = f"{host}:{port}"
        self._headers = {"Content-Type": "application/json", **headers}
        self._socket: socket.socket | None = None
        self._rest = b""

    def close(self) -> None:
        """Close it; the next request opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._rest = b""

    def send(self, method: str, path: str, document: object = None) -> Answer:
        """Ask and read the whole answer."""
        body = b"" if document is None else json.dumps(document).encode()
        return self.exchange(encode(method, path, self._host, self._headers, body))

    def exchange(self, request: bytes) -> Answer:
        """Send bytes made by `encode`."""
        self._connected().sendall(request)
        status, chunks = self._answer()
        return Answer(status, b"".join(chunks))

    def request_bytes(self, method: str, path: str, document: object) -> bytes:
        """Encode once what is sent many times."""
        body = json.dumps(document).encode()
        return encode(method, path, self._host, self._headers, body)

    def stream(self, method: str, path: str, document: object = None) -> Iterator[bytes]:
        """The body as it arrives. Read it to its end, or `close`."""
        body = b"" if document is None else json.dumps(document).encode()
        self._connected().sendall(encode(method, path, self._host, self._headers, body))
        status, chunks = self._answer()
        if status >= HTTPStatus.MULTIPLE_CHOICES:
            raise BrokenAnswer(f"{method} {path}: {status} {b''.join(chunks)[:300]!r}")
        return chunks

    def upload(self, path: str, file: BinaryIO, length: int, method: str = "PUT") -> Answer:
        """Send a file, handed from the kernel to the kernel."""
        connection = self._connected()
        head = encode(
            method, path, self._host, {**self._headers, "Content-Type": "application/x-tar"}
        )
        connection.sendall(head.replace(b"Content-Length: 0", b"Content-Length: %d" % length))
        connection.sendfile(file)
        status, chunks = self._answer()
        return Answer(status, b"".join(chunks))

    def _connected(self) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=_DEADLINE_S)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def _answer(self) -> tuple[int, Iterator[bytes]]:
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        status = int(head[9:12])
        lowered = head.lower()
        if b"transfer-encoding: chunked" in lowered:
            return status, self._chunked()
        _, found, after = lowered.partition(b"content-length:")
        length = int(after.partition(b"\r\n")[0]) if found else 0
        return status, self._counted(length)

    def _counted(self, length: int) -> Iterator[bytes]:
        while length:
            # What is not here yet is read as it is, and never joined to anything.
            piece = self._rest[:length] or self._received(min(length, _CHUNK))
            self._rest = self._rest[length:]
            length -= len(piece)
            yield piece

    def _chunked(self) -> Iterator[bytes]:
        while True:
            while b"\r\n" not in self._rest:
                self._more(_LINE)
            size, _, self._rest = self._rest.partition(b"\r\n")
            length = int(size.partition(b";")[0], 16)
            yield from self._counted(length)
            while len(self._rest) < len(_END):
                self._more(_LINE)
            self._rest = self._rest[len(_END) :]
            if not length:
                return

    def _more(self, most: int = _CHUNK) -> None:
        self._rest += self._received(most)

    def _received(self, most: int) -> bytes:
        data = self._connected().recv(most)
        if not data:
            self.close()
            raise BrokenAnswer("The server closed the connection.")
        return data
