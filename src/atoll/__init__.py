"""Atoll: a self-hosted server where AI agents run untrusted code in isolated sandboxes."""

__version__ = "0.1.0"
