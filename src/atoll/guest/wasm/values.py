"""Words of a command line to a function's parameters, and its results to JSON."""

import math
from typing import Any, cast

from atoll.guest.wasm.report import BAD_ARGUMENT, NO_FUNCTION, Refused, Value

_BITS = {"i32": 32, "i64": 64}


def parameters(kinds: list[str], words: list[str], function: str) -> list[int | float]:
    """One value for each parameter. Raises `Refused`, naming the argument that is wrong."""
    if len(kinds) != len(words):
        signature = ", ".join(kinds) or "none"
        raise Refused(
            BAD_ARGUMENT,
            f"{function} takes {len(kinds)} arguments ({signature}), {len(words)} were given.",
        )
    return [
        _parameter(kind, word, f"Argument {place} of {function}")
        for place, (kind, word) in enumerate(zip(kinds, words, strict=True), 1)
    ]


def _parameter(kind: str, word: str, where: str) -> int | float:
    if kind in _BITS:
        return _integer(_BITS[kind], word, where)
    if kind in ("f32", "f64"):
        try:
            return float(word)
        except ValueError:
            raise Refused(BAD_ARGUMENT, f"{where} must be a number, not {word[:80]!r}.") from None
    raise Refused(NO_FUNCTION, f"{where} is of type {kind}, which cannot be given from outside.")


def _integer(bits: int, word: str, where: str) -> int:
    """Signed or unsigned, decimal or 0x…; given to the module as signed."""
    try:
        if len(word) > 80:
            raise ValueError(word)
        number = int(word, 0) if word.lstrip("+-")[:1] == "0" and "x" in word else int(word)
    except ValueError:
        raise Refused(BAD_ARGUMENT, f"{where} must be an integer, not {word[:80]!r}.") from None
    if not -(1 << bits - 1) <= number < 1 << bits:
        raise Refused(BAD_ARGUMENT, f"{where} does not fit into {bits} bits.")
    return number - (1 << bits) if number >= 1 << bits - 1 else number


def results(returned: Any) -> tuple[Value, ...]:
    """What a function returned; what JSON has no word for is a string or null."""
    if returned is None:
        return ()
    if isinstance(returned, list):
        return tuple(_result(one) for one in cast("list[object]", returned))
    return (_result(returned),)


def _result(value: object) -> Value:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
