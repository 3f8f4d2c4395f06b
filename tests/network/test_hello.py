"""The server that a TLS client asks for, as the standard library's own client greets it."""

import ssl

import pytest

from atoll.network.hello import is_tls, server_name


def greeting(name: str | None) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def in_records(data: bytes, size: int) -> bytes:
    """The same message in records of that size."""
    body = data[5:]
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(data[:3] + len(part).to_bytes(2, "big") + part for part in parts)


@pytest.mark.parametrize(
    ("name", "found"), [("a.org", "a.org"), ("WWW.A.org", "www.a.org"), (None, "")]
)
def test_the_name_is_found(name: str | None, found: str) -> None:
    data = greeting(name)
    assert is_tls(data)
    assert server_name(data) == found
    assert server_name(in_records(data, 1)) == found
    assert server_name(in_records(data, 40) + b"early data") == found


def test_a_part_of_it_needs_more() -> None:
    data = greeting("a.org")
    assert {server_name(data[:end]) for end in range(len(data))} == {None}


def test_a_message_that_lies_about_its_lengths_is_not_read_as_another_name() -> None:
    data = greeting("a.org")
    at = data.index(b"a.org")
    for where in (at - 2, at - 3, at - 5, at - 7):  # each a byte of a length
        lying = bytearray(data)
        lying[where] = 0xFF
        with pytest.raises(ValueError, match=r"greeting|server"):
            server_name(bytes(lying))


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x01\x02",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
        b"\x16\x03\x01\x00\x01\x01\x17\x03\x03\x00\x01\x00",
    ],
)
def test_what_is_no_greeting_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"greeting|record"):
        server_name(data)


def test_other_protocols_are_no_tls() -> None:
    assert not is_tls(b"SSH-2.0-x\r\n")
    assert not is_tls(b"")
