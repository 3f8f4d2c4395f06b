"""Read JSON answers into typed values, tolerant of what a newer server adds."""

import json
from collections.abc import Iterator, Mapping
from typing import cast

from atoll.client.errors import AtollError


class Document:
    """A JSON object. A missing field is its default; one of the wrong kind is an error."""

    def __init__(self, value: object) -> None:
        if not isinstance(value, dict):
            raise AtollError(f"The server answered {type(value).__name__}, not an object.")
        self._fields = cast("Mapping[str, object]", value)

    @classmethod
    def parse(cls, text: str | bytes) -> "Document":
        """Read one from its text; nothing at all is an empty one."""
        try:
            return cls(json.loads(text or "{}"))
        except ValueError as wrong:
            raise AtollError(f"The server answered what is not JSON: {wrong}.") from wrong

    @property
    def fields(self) -> Mapping[str, object]:
        """Everything, as it came."""
        return self._fields

    def has(self, key: str) -> bool:
        """Whether the field is there and not null."""
        return self._fields.get(key) is not None

    def text(self, key: str, default: str = "") -> str:
        """A string field."""
        value = self._fields.get(key)
        return default if value is None else str(value)

    def maybe_text(self, key: str) -> str | None:
        """A string field that may be absent."""
        return self.text(key) if self.has(key) else None

    def number(self, key: str, default: float = 0.0) -> float:
        """A number field."""
        value = self._fields.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise AtollError(f"The server answered {key!r} that is not a number.")
        return float(value)

    def maybe_number(self, key: str) -> float | None:
        """A number field that may be absent."""
        return self.number(key) if self.has(key) else None

    def whole(self, key: str, default: int = 0) -> int:
        """An integer field."""
        return int(self.number(key, default))

    def maybe_whole(self, key: str) -> int | None:
        """An integer field that may be absent."""
        return int(self.number(key)) if self.has(key) else None

    def flag(self, key: str) -> bool:
        """A truth value; absent is False."""
        return self._fields.get(key) is True

    def scalars(self, key: str) -> tuple[int | float | str | None, ...]:
        """A list field of numbers, strings and nulls; absent is empty."""
        value = self._fields.get(key)
        if not isinstance(value, list):
            return ()
        return tuple(
            one if isinstance(one, int | float | str) else None
            for one in cast("list[object]", value)
        )

    def inner(self, key: str) -> "Document":
        """An object field; absent is an empty one."""
        value = self._fields.get(key)
        return Document({} if value is None else value)

    def items(self, key: str) -> "Iterator[Document]":
        """The objects of a list field."""
        value = self._fields.get(key)
        if value is None:
            return iter(())
        if not isinstance(value, list):
            raise AtollError(f"The server answered {key!r} that is not a list.")
        return (Document(each) for each in cast("list[object]", value))

    def words(self, key: str) -> tuple[str, ...]:
        """The strings of a list field."""
        value = self._fields.get(key)
        if not isinstance(value, list):
            return ()
        return tuple(str(each) for each in cast("list[object]", value))

    def strings(self, key: str) -> dict[str, str]:
        """An object field whose values are strings."""
        return {name: str(value) for name, value in self.inner(key).fields.items()}

    def numbers(self, key: str) -> dict[str, float]:
        """An object field whose values are numbers."""
        inner = self.inner(key)
        return {name: inner.number(name) for name in inner.fields}
