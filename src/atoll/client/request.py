"""A request as a value. Both drivers send the same ones."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

READ_S = 60.0
"""How long an answer may take when the request itself says nothing about time."""

Body = Callable[[], Iterator[bytes]]
"""Makes the body anew for each try."""

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Request:
    """What to send.

    `repeatable` says that sending it twice does the same as once, so that a broken connection
    may be answered by another try.
    """

    method: str
    path: str
    query: Mapping[str, Scalar | list[str]] = field(default_factory=dict[str, Scalar | list[str]])
    json: object = None
    body: bytes | Body | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    repeatable: bool = False
    read_s: float = READ_S

    def parameters(self) -> dict[str, str | list[str]]:
        """The query as it is sent: without what is None."""
        return {
            name: value if isinstance(value, list) else _written(value)
            for name, value in self.query.items()
            if value is not None
        }


def get(path: str, /, **query: Scalar | list[str]) -> Request:
    """Read something."""
    return Request("GET", path, query=query, repeatable=True)


def delete(path: str, /, **query: Scalar | list[str]) -> Request:
    """Remove something; doing it twice is fine."""
    return Request("DELETE", path, query=query, repeatable=True)


def create(path: str, json: Mapping[str, object], *, read_s: float = READ_S) -> Request:
    """Make something once, however often it is sent: the server recognises its key."""
    headers = {"Idempotency-Key": secrets.token_hex(16)}
    return Request("POST", path, json=json, headers=headers, repeatable=True, read_s=read_s)


def post(
    path: str,
    json: Mapping[str, object] | None = None,
    *,
    read_s: float = READ_S,
    repeatable: bool = False,
) -> Request:
    """Do something; tried again only when the server surely did not do it, or it is harmless."""
    return Request("POST", path, json=json, repeatable=repeatable, read_s=read_s)


def segment(text: str) -> str:
    """One path segment, escaped."""
    return quote(text, safe="")


def below(path: str) -> str:
    """A path in a sandbox as the end of a URL: an absolute one keeps its leading slash.

    Names that are not UTF-8 travel by their bytes (surrogate escapes). Dots are escaped where a
    segment consists of them, so that no proxy and no client library folds them.
    """
    parts = path.encode("utf-8", "surrogateescape").split(b"/")
    return "/".join(
        _dotted(part) if part in {b".", b".."} else quote(part, safe="") for part in parts
    )


def _dotted(part: bytes) -> str:
    return part.decode("ascii").replace(".", "%2E")


def _written(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
