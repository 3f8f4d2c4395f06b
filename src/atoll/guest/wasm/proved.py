"""Compiled code that comes along with a program, and counts only where it is proved."""

import contextlib
import os
from typing import Any

from atoll.guest.wasm import engine

DIGITS = 40


def load(path: str, code: str, proof: str, *, fuel: bool) -> Any:
    """The module at `path`; from the code when both are what `proof`, two digests, says.

    Whoever else is in the sandbox may have changed either file. What is proved is what is loaded:
    nothing is read twice.
    """
    import hashlib  # noqa: PLC0415 (a large library, which few programs need)

    import wasmtime

    def is_that(data: bytes, digest: str) -> bool:
        return hashlib.sha256(data).hexdigest()[:DIGITS] == digest

    data = engine.read(path)
    of_module, _, of_code = proof.partition(":")
    held = _taken(code)
    if is_that(data, of_module) and is_that(held, of_code):
        with contextlib.suppress(wasmtime.WasmtimeError):
            return wasmtime.Module.deserialize(engine.engine(fuel=fuel), held)
    return engine.compiled(data, fuel=fuel)


def _taken(code: str) -> bytes:
    """What the file holds; it is not needed again."""
    try:
        with open(code, "rb") as file:
            data = file.read()
        os.unlink(code)
    except OSError:
        return b""
    return data
