"""Column types that give back exactly the strings they were given, on every database.

PostgreSQL stores no NUL and neither database stores lone surrogates, but argument vectors, paths
and output have both. `FaithfulText` escapes them with a backslash (and the backslash itself), so
that ordinary text looks ordinary in the table; `JsonText` is ASCII JSON.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Dialect, Text, TypeDecorator
from sqlalchemy.types import TypeEngine

from atoll.core.errors import InvalidRequest

MAX_KEY_BYTES = 1024
"""Bound of a string that is indexed; PostgreSQL refuses index rows over 2704 bytes."""

_ODD = re.compile("[\\\\\x00\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(?:\\|u([0-9a-f]{4}))")


def escape(text: str) -> str:
    """Text that any database can store; different for different inputs."""
    if text.isascii() and "\\" not in text and "\0" not in text:
        return text
    return _ODD.sub(lambda m: "\\\\" if m[0] == "\\" else f"\\u{ord(m[0]):04x}", text)


def unescape(text: str) -> str:
    """The inverse of `escape`."""
    if "\\" not in text:
        return text
    return _ESCAPED.sub(lambda m: chr(int(m[1], 16)) if m[1] else "\\", text)


def check_keys(**texts: str | None) -> None:
    """`InvalidRequest` for a string that is too long to be indexed, naming it."""
    for field, text in texts.items():
        if text is not None and len(escape(text).encode()) > MAX_KEY_BYTES:
            raise InvalidRequest(f"{field} is longer than {MAX_KEY_BYTES} bytes.", field=field)


def label_pair(key: str, value: str) -> str:
    """A word that stands for one label, of fixed length and plain characters."""
    raw = key.encode("utf-8", "surrogatepass")
    rest = value.encode("utf-8", "surrogatepass")
    return hashlib.sha256(b"%d:%b%b" % (len(raw), raw, rest)).hexdigest()[:32]


def label_words(labels: Mapping[str, str]) -> str:
    """Every label's word, separated; a label filter looks for its word in this."""
    return " ".join(label_pair(key, value) for key, value in labels.items())


class FaithfulText(TypeDecorator[str]):
    """Any Python string; compared and ordered by code point, whatever the database's locale."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[str]:
        """Say the collation where it is not the default."""
        collation = "C" if dialect.name == "postgresql" else None
        return Text(collation=collation)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """To the database."""
        del dialect
        return None if value is None else escape(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        """From the database."""
        del dialect
        return None if value is None else unescape(value)


class JsonText(TypeDecorator[Any]):
    """A JSON value as ASCII text (never the database's own type, which refuses NUL)."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: object, dialect: Dialect) -> str | None:
        """To the database."""
        del dialect
        return None if value is None else json.dumps(value, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ANN401
        """From the database."""
        del dialect
        return None if value is None else json.loads(value)


def strings(values: Iterable[Any]) -> tuple[str, ...]:
    """A tuple of strings out of decoded JSON."""
    return tuple(str(value) for value in values)
