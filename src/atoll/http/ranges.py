"""Conditions and ranges of a request for a file (RFC 9110)."""

import re
from collections.abc import Mapping

from atoll.http.errors import Refused

_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*")


def matches(header: str, etag: str) -> bool:
    """Whether a list of entity tags names this one, weakly compared."""
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags


def wanted_range(headers: Mapping[str, str], size: int, etag: str) -> tuple[int, int] | None:
    """Offset and length, or None for the whole. 416 when the file has no such part.

    Several ranges at once, other units and what is no range at all are answered with the whole,
    as is a range under an `If-Range` that does not hold.
    """
    match = _RANGE.fullmatch(headers.get("range", ""))
    if match is None or headers.get("if-range", etag) != etag:
        return None
    first, last = match[1], match[2]
    if not first and not last:
        return None
    if not first:
        length = min(int(last), size)
        if length == 0:
            raise _outside(size)
        return size - length, length
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= size:
        raise _outside(size)
    end = min(int(last), size - 1) if last else size - 1
    return start, end - start + 1


def _outside(size: int) -> Refused:
    return Refused(416, f"The file has {size} bytes.", headers={"content-range": f"bytes */{size}"})
