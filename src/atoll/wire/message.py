"""One datagram between the server and its maker, zygote or programs: a JSON header and a raw blob.

    u32 length of the header, big endian | header, UTF-8 JSON object | blob

Sent over `SOCK_SEQPACKET`, so that a message arrives whole or not at all and file descriptors
travel with the message they belong to. What does not fit goes through a memfd, whose number of
bytes the header tells.
"""

import json
import os
import socket
import struct
from typing import Any, cast

HEADER_MAX = 128 * 1024
MESSAGE_MAX = 160 * 1024
FDS_MAX = 16
_PEEK = socket.MSG_PEEK | socket.MSG_TRUNC
_LENGTH = struct.Struct(">I")
_FD = struct.Struct("i")
_FDS_SPACE = socket.CMSG_LEN(FDS_MAX * _FD.size)

Header = dict[str, Any]


class BadMessage(ValueError):
    """The other side sent something that is not a message."""


def encode(header: Header, blob: bytes = b"") -> bytes:
    """Raise `BadMessage` when it would not fit in one datagram."""
    head = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode("ascii")
    if len(head) > HEADER_MAX or 4 + len(head) + len(blob) > MESSAGE_MAX:
        raise BadMessage("message too long")
    return _LENGTH.pack(len(head)) + head + blob


def decode(data: bytes) -> tuple[Header, bytes]:
    """Raise `BadMessage` for anything but a message of this form."""
    if len(data) < _LENGTH.size:
        raise BadMessage("message too short")
    (length,) = _LENGTH.unpack_from(data)
    if length > HEADER_MAX or _LENGTH.size + length > len(data):
        raise BadMessage("header length out of range")
    try:
        header = json.loads(data[_LENGTH.size : _LENGTH.size + length])
    except (ValueError, RecursionError) as error:
        raise BadMessage("header is not JSON") from error
    if not isinstance(header, dict):
        raise BadMessage("header is not an object")
    return cast("Header", header), data[_LENGTH.size + length :]


def send(sock: socket.socket, header: Header, blob: bytes = b"", fds: tuple[int, ...] = ()) -> None:
    """Send one message with its descriptors. Raises `OSError`, `BlockingIOError` when full."""
    data = encode(header, blob)
    if fds:
        socket.send_fds(sock, [data], list(fds))
    else:
        sock.send(data)


def receive(sock: socket.socket) -> tuple[Header, bytes, list[int]] | None:
    """Receive one message, None at end of file. The caller owns the descriptors."""
    size = sock.recv_into(bytearray(1), 1, _PEEK)
    if size == 0:
        return None
    # A buffer for the longest message would cost the mapping of its pages each time.
    size = min(size, MESSAGE_MAX)
    # Not `socket.recv_fds`, which ignores its flags: the descriptors would be inheritable.
    data, extra, flags, _ = sock.recvmsg(size, _FDS_SPACE, socket.MSG_CMSG_CLOEXEC)
    fds = [fd for *_, raw in extra for (fd,) in _FD.iter_unpack(raw[: len(raw) & -_FD.size])]
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise BadMessage("message truncated")
        header, blob = decode(data)
    except BadMessage:
        for fd in fds:
            os.close(fd)
        raise
    return header, blob, fds
