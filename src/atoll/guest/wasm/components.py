"""Components (WASI preview 2): commands, and exported functions of plain types."""

import functools
from typing import Any

from atoll.guest.wasm import engine
from atoll.guest.wasm.report import (
    BAD_ARGUMENT,
    EXITED,
    INVALID,
    NO_FUNCTION,
    Refused,
    Report,
    Value,
)
from atoll.guest.wasm.values import results as shown

_RUN = "wasi:cli/run@0.2."
_RESULT_MAX = 256 * 1024
_INTEGERS = {f"{sign}{bits}": (sign == "S", bits) for sign in "SU" for bits in (8, 16, 32, 64)}
_FLOATS = ("F32", "F64")
_PLAIN = {*_INTEGERS, *_FLOATS, "Bool", "Char", "String"}
# A component's trap comes as an error without a code. The words are the engine's.
_TRAPS = {
    "`unreachable` instruction": "unreachable",
    "call stack exhausted": "stack_overflow",
    "out of bounds memory access": "memory_out_of_bounds",
    "out of bounds table access": "table_out_of_bounds",
    "uninitialized element": "indirect_call_to_null",
    "indirect call type mismatch": "bad_signature",
    "integer overflow": "integer_overflow",
    "integer divide by zero": "integer_division_by_zero",
    "invalid conversion to integer": "bad_conversion_to_integer",
    "all fuel consumed": "out_of_fuel",
}
_MARK = "wasm trap: "


@functools.cache
def linker(*, fuel: bool) -> Any:
    """WASI preview 2 without HTTP, and nothing else, for components to import."""
    import wasmtime.component

    made = wasmtime.component.Linker(engine.engine(fuel=fuel))
    made.add_wasip2()
    return made


def called(
    component: Any, store: Any, instance: Any, invoke: str | None, words: list[str]
) -> Report:
    """Run `wasi:cli/run`, or a function with those words. Raises `Refused`, the engine's errors."""
    if invoke is None:
        return _command(store, component, instance)
    interface, mark, name = invoke.rpartition("#")
    function = _function(store, instance, interface if mark else None, name)
    if function is None:
        raise Refused(NO_FUNCTION, f"The component exports no function {invoke!r}.")
    return _invoked(store, function, invoke, words)


def _command(store: Any, component: Any, instance: Any) -> Report:
    names = [str(name) for name in component.type.exports(engine.engine(fuel=False))]
    interface = next((name for name in names if name.startswith(_RUN)), None)
    function = _function(store, instance, interface, "run") if interface else None
    if function is None:
        there = ", ".join(names[:40]) or "nothing"
        raise Refused(NO_FUNCTION, f"The component exports no {_RUN}x; it exports: {there}.")
    return Report(EXITED, 0 if function(store).tag == "ok" else 1)


def _function(store: Any, instance: Any, interface: str | None, name: str) -> Any:
    above = None
    if interface is not None:
        above = instance.get_export_index(store, interface)
        if above is None:
            return None
    index = instance.get_export_index(store, name, above)
    return None if index is None else instance.get_func(store, index)


def _invoked(store: Any, function: Any, name: str, words: list[str]) -> Report:
    signature = function.type(store)
    kinds = [(str(label), type(kind).__name__) for label, kind in signature.params]
    returned = [] if signature.result is None else [type(signature.result).__name__]
    for kind in (*(kind for _, kind in kinds), *returned):
        if kind not in _PLAIN:
            raise Refused(
                NO_FUNCTION, f"{name} takes or gives a {kind}, which cannot cross from outside."
            )
    if len(kinds) != len(words):
        listed = ", ".join(f"{label}: {kind.lower()}" for label, kind in kinds) or "none"
        raise Refused(
            BAD_ARGUMENT,
            f"{name} takes {len(kinds)} arguments ({listed}), {len(words)} were given.",
        )
    given = [_given(kind, word, label) for (label, kind), word in zip(kinds, words, strict=True)]
    return Report(EXITED, 0, results=_shown(function(store, *given), returned))


def _given(kind: str, word: str, label: str) -> Any:
    """A word of a command line as a value of that type. Raises `Refused`."""
    try:
        if kind in _INTEGERS:
            signed, bits = _INTEGERS[kind]
            number = int(word[:80])
            low = -(1 << bits - 1) if signed else 0
            if len(word) > 80 or not low <= number < low + (1 << bits):
                raise ValueError(word)
            return number
        if kind in _FLOATS:
            return float(word)
        if kind == "Bool":
            return {"true": True, "false": False}[word]
        if kind == "Char" and len(word) != 1:
            raise ValueError(word)
    except (ValueError, KeyError):
        what = f"{word[:80]!r} is no {kind.lower()}."
        raise Refused(BAD_ARGUMENT, f"Argument {label}: {what}") from None
    return word


def _shown(value: Any, kinds: list[str]) -> tuple[Value, ...]:
    if not kinds:
        return ()
    if isinstance(value, bool):
        return (int(value),)
    if isinstance(value, str):
        if len(value) > _RESULT_MAX:
            raise Refused(INVALID, f"The result is longer than {_RESULT_MAX // 1024} KiB.")
        return (value,)
    return shown(value)


def trap(message: str) -> str | None:
    """The name of the trap that an error of the engine's tells of."""
    _, mark, said = message.partition(_MARK)
    if not mark:
        return None
    return next((name for words, name in _TRAPS.items() if words in said), "trap")
