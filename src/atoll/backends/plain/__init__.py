"""Worker processes for WebAssembly, on hosts where namespaces cannot be made."""

from atoll.backends.plain.backend import PlainBackend, PlainConfig

__all__ = ["PlainBackend", "PlainConfig"]
