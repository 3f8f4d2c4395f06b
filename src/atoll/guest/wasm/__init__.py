"""Runs a WebAssembly module inside a sandbox: one runner, for a program and for warm workers."""
