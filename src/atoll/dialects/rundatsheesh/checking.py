"""Bodies and queries against JSON schemas, with the coercions and sentences of AJV.

run-dat-sheesh's server is Fastify, whose defaults are: a number may come as text, a field that no
schema names is dropped, and the first thing wrong is said (https://fastify.dev, "Validation").
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from atoll.dialects.rundatsheesh.errors import SheeshError, bad

Schema = Mapping[str, Any]
_DEEPEST = 32
_WHOLE = re.compile(r"[+-]?\d{1,15}")


def checked(schema: Schema, value: object, where: str = "body") -> Any:  # noqa: ANN401 - JSON
    """The value with its coercions made. `SheeshError` 400 with AJV's sentence."""
    return _checked(schema, value, where, 0)


def _checked(schema: Schema, value: object, where: str, depth: int) -> Any:  # noqa: ANN401
    if depth > _DEEPEST:
        raise _wrong(where, "must NOT be so deep")
    kind = schema.get("type")
    if kind is not None:
        value = _TYPES[kind](value, where)
    if "enum" in schema and value not in schema["enum"]:
        raise _wrong(where, "must be equal to one of the allowed values")
    if isinstance(value, str):
        _text(schema, value, where)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        _bounds(schema, value, where)
    elif isinstance(value, list):
        items = cast("list[object]", value)
        _count(schema, items, where)
        inner = schema.get("items", {})
        return [_checked(inner, each, f"{where}/{i}", depth + 1) for i, each in enumerate(items)]
    elif isinstance(value, dict):
        return _object(schema, cast("dict[str, Any]", value), where, depth)
    return value


def _object(schema: Schema, value: Mapping[str, Any], where: str, depth: int) -> dict[str, Any]:
    for name in schema.get("required", ()):
        if name not in value:
            raise _wrong(where, f"must have required property '{name}'")
    known: Mapping[str, Schema] = schema.get("properties", {})
    others = schema.get("additionalProperties", False)
    found: dict[str, Any] = {}
    for name, each in value.items():
        if name in known:
            found[name] = _checked(known[name], each, f"{where}/{name}", depth + 1)
        elif others is True:
            found[name] = each
        elif others is not False:
            found[name] = _checked(others, each, f"{where}/{name}", depth + 1)
    return found


def _text(schema: Schema, value: str, where: str) -> None:
    least, most = schema.get("minLength", 0), schema.get("maxLength", math.inf)
    if len(value) < least:
        raise _wrong(where, f"must NOT have fewer than {least} characters")
    if len(value) > most:
        raise _wrong(where, f"must NOT have more than {most} characters")
    pattern = schema.get("pattern")
    if pattern is not None and not re.search(pattern, value):
        raise _wrong(where, f'must match pattern "{pattern}"')


def _bounds(schema: Schema, value: float, where: str) -> None:
    least, most = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if value < least:
        raise _wrong(where, f"must be >= {least}")
    if value > most:
        raise _wrong(where, f"must be <= {most}")


def _count(schema: Schema, value: Sequence[object], where: str) -> None:
    least, most = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    if len(value) < least:
        raise _wrong(where, f"must NOT have fewer than {least} items")
    if len(value) > most:
        raise _wrong(where, f"must NOT have more than {most} items")


def _string(value: object, where: str) -> str:
    if isinstance(value, str):
        if any("\ud800" <= each <= "\udfff" for each in value):
            raise _wrong(where, "must be valid Unicode")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if value is None:
        return ""
    raise _wrong(where, "must be string")


def _number(value: object, where: str) -> float | int:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float) and math.isfinite(value):
        return value
    if value is None:
        return 0
    if isinstance(value, str) and value.strip():
        try:
            found = float(value)
        except ValueError:
            found = math.nan
        if math.isfinite(found):
            return int(found) if found.is_integer() else found
    raise _wrong(where, "must be number")


def _integer(value: object, where: str) -> int:
    if isinstance(value, str) and not _WHOLE.fullmatch(value.strip()):
        raise _wrong(where, "must be integer")
    try:
        found = _number(value, where)
    except SheeshError:
        raise _wrong(where, "must be integer") from None
    if isinstance(found, float) and not found.is_integer():
        raise _wrong(where, "must be integer")
    return int(found)


def _boolean(value: object, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if value is None or value in ("false", 0):
        return False
    if value in ("true", 1):
        return True
    raise _wrong(where, "must be boolean")


def _array(value: object, where: str) -> list[object]:
    if isinstance(value, list):
        return cast("list[object]", value)
    raise _wrong(where, "must be array")


def _mapping(value: object, where: str) -> dict[str, Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise _wrong(where, "must be object")


_TYPES: Mapping[str, Callable[[object, str], Any]] = {
    "string": _string,
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "array": _array,
    "object": _mapping,
}


def _wrong(where: str, what: str) -> SheeshError:
    return bad(f"{where} {what}")
