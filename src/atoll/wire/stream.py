"""Frames on a byte stream between the server and a file worker: one kind byte, a length, a body.

    u8 kind | u32 length, big endian | body

`D` carries data, `E` ends a direction with a JSON result, `X` ends it with a JSON error. A body is
at most 1 MiB (`D`) or 64 KiB (the others); whatever claims more is refused unread.
"""

import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any, cast

DATA = b"D"
END = b"E"
ERROR = b"X"
DATA_MAX = 1024 * 1024
JSON_MAX = 64 * 1024
HEADER = struct.Struct(">cI")


class BadFrame(ValueError):
    """The other side sent something that is not a frame."""


class Cut(Exception):
    """The stream ended before its last frame: the other side has given up."""


def header(kind: bytes, length: int) -> bytes:
    """The five bytes before a body."""
    return HEADER.pack(kind, length)


def parse(raw: bytes) -> tuple[bytes, int]:
    """Kind and length; `BadFrame` when they are out of range."""
    kind, length = HEADER.unpack(raw)
    bound = DATA_MAX if kind == DATA else JSON_MAX
    if kind not in (DATA, END, ERROR) or length > bound:
        raise BadFrame(f"frame {kind!r} of {length} bytes")
    return kind, length


def body(raw: bytes) -> dict[str, Any]:
    """The JSON object in an `E` or `X` frame."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise BadFrame("body is not JSON") from error
    if not isinstance(value, dict):
        raise BadFrame("body is not an object")
    return cast("dict[str, Any]", value)


class Duplex:
    """Both directions over a blocking socket, for the guest's side."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._incoming = self._frames()

    def fileno(self) -> int:
        """The socket's descriptor, for poll."""
        return self._sock.fileno()

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Send data, in as many frames as it takes."""
        view = memoryview(data)
        while view:
            part = view[:DATA_MAX]
            self._sock.sendall(header(DATA, len(part)))
            self._sock.sendall(part)
            view = view[len(part) :]

    def send_file(self, fd: int, offset: int, size: int) -> None:
        """Send exactly that part of a file, without reading it: zeros for what it has no longer."""
        while size:
            part = min(size, DATA_MAX)
            self._sock.sendall(header(DATA, part))
            size -= part
            while part:
                sent = os.sendfile(self._sock.fileno(), fd, offset, part)
                if not sent:
                    self._sock.sendall(bytes(part))
                    break
                offset += sent
                part -= sent

    def end(self, kind: bytes, value: dict[str, Any]) -> None:
        """Send the last frame, `END` or `ERROR`."""
        raw = json.dumps(value, separators=(",", ":")).encode("ascii")
        self._sock.sendall(header(kind, len(raw)) + raw)

    def read(self, size: int = -1) -> bytes:
        """The next piece of data whatever `size`, b"" after the last. Raises `Cut`."""
        del size
        return next(self._incoming, b"")

    def _exactly(self, size: int) -> bytes:
        raw = self._sock.recv(size, socket.MSG_WAITALL) if size else b""
        while len(raw) < size:  # a signal may cut even a call that waits for all
            part = self._sock.recv(size - len(raw), socket.MSG_WAITALL)
            if not part:
                raise Cut
            raw += part
        return raw

    def _frames(self) -> Iterator[bytes]:
        while True:
            kind, length = parse(self._exactly(HEADER.size))
            raw = self._exactly(length)
            if kind != DATA:
                return
            if raw:
                yield raw
