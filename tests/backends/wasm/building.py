"""Test modules: C compiled to WASI by the PyPI package `ziglang`, once for each digest."""

import hashlib
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

SOURCES = Path(__file__).parent / "modules"
_CACHE = Path(tempfile.gettempdir()) / f"atoll-test-modules-{os.getuid()}"


def module(name: str) -> Path:
    """The module made of `modules/NAME.c`. Blocks for seconds, the first time."""
    source = SOURCES / f"{name}.c"
    key = hashlib.sha256(source.read_bytes() + metadata.version("ziglang").encode()).hexdigest()
    target = _CACHE / f"{name}-{key[:20]}.wasm"
    if not target.exists():
        _CACHE.mkdir(mode=0o700, exist_ok=True)
        draft = target.with_suffix(f".{os.getpid()}.part")
        argv = [sys.executable, "-m", "ziglang", "cc", "-target", "wasm32-wasi", "-O2", "-s"]
        env = {"PATH": os.defpath, "HOME": str(_CACHE), "ZIG_GLOBAL_CACHE_DIR": str(_CACHE / "zig")}
        subprocess.run([*argv, "-o", str(draft), str(source)], check=True, timeout=300, env=env)
        draft.replace(target)
    return target
