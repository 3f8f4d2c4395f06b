"""WebAssembly modules, and languages that are compiled to it, in sandboxes of another backend."""

from atoll.backends.wasm.backend import WasmBackend, WasmConfig
from atoll.backends.wasm.carriers import FirstUsable
from atoll.backends.wasm.programs import Program

__all__ = ["FirstUsable", "Program", "WasmBackend", "WasmConfig"]
