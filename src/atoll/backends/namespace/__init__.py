"""Linux namespaces: the default backend, and the fastest."""

from atoll.backends.namespace.driver import NamespaceBackend, NamespaceConfig

__all__ = ["NamespaceBackend", "NamespaceConfig"]
