"""The frame that a program gives back, among its output."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from atoll.core.model import Channel
from atoll.service.reports import PAYLOAD_BYTES, Report, Reported, of_stderr

NONCE = "0" * 32
OUT, ERR = Channel.STDOUT, Channel.STDERR


def frame(body: bytes, nonce: str = NONCE) -> bytes:
    return b"\0atoll:%s:%d\n%s" % (nonce.encode(), len(body), body)


def taken(pieces: list[bytes], keep: int = 0) -> Report:
    report = Report(NONCE, keep)
    for piece in pieces:
        report.take(OUT, piece)
    report.finish()
    return report


@given(
    before=st.binary(max_size=200),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=6,
    ),
)
def test_however_it_is_cut(before: bytes, cuts: list[int], value: object) -> None:
    import json

    body = json.dumps({"code": 0, "result": value}).encode()
    data = before + frame(body) + b"after"
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[a:b] for a, b in pairwise(edges)]
    report = taken(pieces)
    assert bytes(report.stdout) == before
    assert report.complete
    assert report.reported == Reported(code=0, has_result=True, result=value)


def test_what_only_looks_like_one() -> None:
    for data in (
        b"\0", b"a\0b\0atoll:", frame(b"{}", "1" * 32), b"\0atoll:" + NONCE[:-1].encode(),
    ):  # fmt: skip
        report = taken([data[:3], data[3:]])
        assert bytes(report.stdout) == data
        assert not report.complete
        assert report.reported == Reported()


def test_depth() -> None:
    for depth, fine in ((190, True), (300, False), (5000, False)):
        body = b'{"code":0,"result":' + b"[" * depth + b"]" * depth + b"}"
        found = taken([frame(body)]).reported
        assert found.has_result is fine
    deep = b'{"code":0,"result":' + b"[" * 300 + b"]" * 300 + b"}"
    error = taken([frame(deep)]).reported.error
    assert error["name"] == "RangeError"


def test_frames_that_are_none() -> None:
    for body in (b"{", b"[]", b"\xff", b"[" * 100_000, b'{"code":0,"result":NaN}'):
        assert taken([frame(body)]).reported == Reported()
    long = b"\0atoll:%s:%d\n" % (NONCE.encode(), PAYLOAD_BYTES + 1)
    for data in (long, b"\0atoll:%s:x\n{}  {}{}" % NONCE.encode()):
        report = taken([b"out", data, b"x" * 1000])
        assert (bytes(report.stdout), report.reported) == (b"out", Reported())


def test_each_channel_is_kept_up_to_a_bound() -> None:
    report = Report(NONCE, 4)
    assert report.take(OUT, b"abcdef") == b"abcd"
    assert report.take(ERR, b"xy") == b"xy"
    report.take(OUT, frame(b'{"code":3}'))
    assert (bytes(report.stdout), bytes(report.stderr)) == (b"abcd", b"xy")
    assert (report.truncated, report.reported.code) == (True, 3)


def test_one_that_holds_nothing() -> None:
    report = Report(NONCE, hold=False)
    assert report.take(OUT, b"abc\0") == b"abc"
    assert report.finish() == b"\0"
    assert not report.stdout


def test_what_interpreters_say() -> None:
    said = "error: Uncaught (in promise) TypeError: boom\n    at x"
    assert of_stderr(said) == {"name": "Type" + "Error", "message": "boom"}
    said = "/x.js:1\nlet = ;\n    ^\n\nSyntaxError: Unexpected token\n    at y"
    assert of_stderr(said) == {"name": "SyntaxError", "message": "Unexpected token"}
    assert of_stderr("")["message"]
