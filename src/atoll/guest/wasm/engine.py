"""The engine's settings, and modules from files."""

import functools
from typing import Any

from atoll.guest.wasm.report import INVALID, STALE, Refused

MODULE_MAX = 128 * 1024 * 1024
STACK_BYTES = 1024 * 1024
_TRIFLE = b"""(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\08\\00\\00\\00\\01\\00\\00\\00.")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
    (call $exit (i32.const 0))))"""
_MAGIC = b"\0asm"
_MODULE, _COMPONENT = b"\x01\0\0\0", b"\0\x01\0"


def engine(*, fuel: bool) -> Any:
    """One for each way of counting: instructions are counted only where somebody asked."""
    return _engine(fuel, False)  # noqa: FBT003 (keywords would be other keys of the cache)


@functools.cache
def _engine(fuel: bool, parallel: bool) -> Any:  # noqa: FBT001
    """Compiling in `parallel` starts threads, so only who will not be forked may do it."""
    import wasmtime

    config = wasmtime.Config()
    config.parallel_compilation = parallel
    config.consume_fuel = fuel
    config.max_wasm_stack = STACK_BYTES
    config.wasm_threads = False
    config.wasm_memory64 = False
    config.wasm_multi_memory = True
    return wasmtime.Engine(config)


@functools.cache
def linker(*, fuel: bool) -> Any:
    """WASI preview 1, and nothing else, for modules to import."""
    import wasmtime

    made = wasmtime.Linker(engine(fuel=fuel))
    made.define_wasi()
    # The engine's own takes codes above 125 for errors.
    made.allow_shadowing = True
    leaving = wasmtime.FuncType([wasmtime.ValType.i32()], [])
    made.define_func("wasi_snapshot_preview1", "proc_exit", leaving, _leave)
    made.allow_shadowing = False
    return made


class Left(BaseException):
    """The module has called `proc_exit`."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _leave(code: int) -> None:
    raise Left(code)


def read(path: str) -> bytes:
    """The bytes of a module's file. Raises `Refused`."""
    try:
        with open(path, "rb") as file:
            data = file.read(MODULE_MAX + 1)
    except (OSError, ValueError) as error:
        raise Refused(INVALID, f"{path} cannot be read: {_reason(error)}.") from error
    if len(data) > MODULE_MAX:
        raise Refused(INVALID, f"{path} is larger than {MODULE_MAX // 1024 // 1024} MiB.")
    return data


def compiled(data: bytes, *, fuel: bool, parallel: bool = False) -> Any:
    """A module, or a component, from its binary or its text form, never from compiled code.

    Raises `Refused`.
    """
    import wasmtime

    if not data.startswith(_MAGIC):
        data = _assembled(data)
    try:
        if data[5:8] == _COMPONENT:
            import wasmtime.component

            return wasmtime.component.Component(_engine(fuel, parallel), data)
        if data[4:8] != _MODULE:
            raise Refused(INVALID, "This is no WebAssembly module of version 1, nor a component.")
        return wasmtime.Module(_engine(fuel, parallel), data)
    except wasmtime.WasmtimeError as error:
        raise Refused(INVALID, f"This is no valid module: {error}") from error


def artefact(data: bytes, *, fuel: bool) -> bytes:
    """Compiled code, for `trusted`. Raises `Refused`."""
    return bytes(compiled(data, fuel=fuel, parallel=True).serialize())


@functools.cache
def trifle() -> Any:
    """A module that writes a byte and leaves."""
    return compiled(_TRIFLE, fuel=False)


@functools.lru_cache(maxsize=1)
def trusted(path: str, *, fuel: bool) -> Any:
    """Compiled code that the server itself has put there. It runs as it is: nothing is checked.

    A worker that has rehearsed a program has its code already.
    """
    import wasmtime

    try:
        return wasmtime.Module.deserialize_file(engine(fuel=fuel), path)
    except wasmtime.WasmtimeError as error:
        import wasmtime.component

        try:
            return wasmtime.component.Component.deserialize_file(engine(fuel=fuel), path)
        except wasmtime.WasmtimeError:
            raise Refused(STALE, str(error)) from error


def _assembled(text: bytes) -> bytes:
    import wasmtime

    try:
        source = text.decode()
    except UnicodeDecodeError:
        raise Refused(INVALID, "This is neither a WebAssembly module nor its text form.") from None
    if "(" not in source or "\0" in source:
        raise Refused(INVALID, "This is neither a WebAssembly module nor its text form.")
    try:
        return bytes(wasmtime.wat2wasm(source))
    except wasmtime.WasmtimeError as error:
        raise Refused(INVALID, f"The text form cannot be read: {error}") from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
