"""Which server a TLS connection asks for, read from its first bytes (RFC 8446 4.1.2, RFC 6066 3).

What cannot be read raises `ValueError`: nobody may then say that it asks for what is allowed.
"""

HELLO_MAX = 16_384
_HANDSHAKE, _CLIENT_HELLO, _SERVER_NAME, _HOST_NAME = 22, 1, 0, 0
_RECORD, _MESSAGE = 5, 4  # the bytes before each: type, version and length; type and length
_BEFORE_SESSION = 34  # the version and the random


def is_tls(data: bytes) -> bool:
    """Whether it begins as a TLS handshake does."""
    return data[:1] == bytes([_HANDSHAKE])


def server_name(data: bytes) -> str | None:
    """The name in lower case, "" when it names none; None while more bytes are needed."""
    hello = _hello(data)
    if hello is None:
        return None
    rest = hello[_BEFORE_SESSION:]
    _, rest = _vector(rest, 1)
    _, rest = _vector(rest, 2)
    _, rest = _vector(rest, 1)
    extensions = _vector(rest, 2)[0] if rest else b""
    found = ""
    while extensions:
        kind, (body, extensions) = _number(extensions, 2), _vector(extensions[2:], 2)
        if kind == _SERVER_NAME:
            names, _ = _vector(body, 2)
            name, more = _vector(names[1:], 2)
            if found or more or names[0] != _HOST_NAME:
                raise ValueError("more than one server is named")
            found = name.decode("ascii").rstrip(".").lower()
    return found


def _hello(data: bytes) -> bytes | None:
    """The message, out of one record or several."""
    message, at = bytearray(), 0
    while len(data) >= at + _RECORD:
        length = _number(data[at + 3 : at + _RECORD], 2)
        if not is_tls(data[at : at + 1]) or not length:
            raise ValueError("the greeting is broken by another record")
        part = data[at + _RECORD : at + _RECORD + length]
        message += part
        at += _RECORD + length
        if message and message[0] != _CLIENT_HELLO:
            raise ValueError("it is no greeting")
        whole = _MESSAGE + _number(message[1:_MESSAGE], 3) if len(message) >= _MESSAGE else 0
        if whole > HELLO_MAX:
            raise ValueError("the greeting is too long")
        if whole and len(message) >= whole:
            return bytes(message[_MESSAGE:whole])
    return None


def _vector(data: bytes, size: int) -> tuple[bytes, bytes]:
    """What a length of `size` bytes stands before, and what follows it."""
    end = size + _number(data, size)
    if len(data) < end:
        raise ValueError("the greeting ends early")
    return data[size:end], data[end:]


def _number(data: bytes | bytearray, size: int) -> int:
    if len(data) < size:
        raise ValueError("the greeting ends early")
    return int.from_bytes(data[:size], "big")
