"""Compiled code on disk, by the digest of its module and all that it depends on.

A file's name holds the digest of its own content too, so that damage shows: it is looked at once
in the life of the server, before the first use. Files appear whole, by a rename, so writers need
no lock; two that compile the same module write the same name. Only what our own compiler made is
ever stored here.
"""

import contextlib
import hashlib
import os
import platform
import tempfile
from importlib import metadata
from pathlib import Path

KEEP_BYTES = 2 * 1024**3
_SUFFIX = ".cwasm"
_LENGTH = 40


def digest(data: bytes) -> str:
    """The name of a module, or of compiled code."""
    return hashlib.sha256(data).hexdigest()[:_LENGTH]


def engine_key() -> str:
    """What compiled code depends on besides its module: the engine and the processor."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
        processor = hashlib.sha256(flags.encode()).hexdigest()[:8]
        return f"wasmtime-{metadata.version('wasmtime')}-{platform.machine()}-{processor}"
    return f"wasmtime-{metadata.version('wasmtime')}-{platform.machine()}"


class Cache:
    """Blocks; call it in a thread. `root` is shown to workers, read-only, so it must be there."""

    def __init__(self, root: Path, *, keep_bytes: int = KEEP_BYTES) -> None:
        self.root = root
        self._keep_bytes = keep_bytes
        self._good: dict[str, str] = {}
        self.key = ""

    def prepare(self) -> None:
        """Make the directory; drop what other engines, or writers that were killed, have left."""
        self.key = engine_key()
        directory = self.root / self.key
        directory.mkdir(parents=True, exist_ok=True)
        for place in (self.root, directory):
            place.chmod(0o755)
        for other in self.root.iterdir():
            if other.name != self.key:
                for file in other.iterdir() if other.is_dir() else ():
                    file.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    other.rmdir()
        for draft in directory.glob("*.part"):
            draft.unlink(missing_ok=True)

    def known(self, module: str, variant: str) -> str | None:
        """What was found or stored before, without a look at the disk."""
        return self._good.get(f"{module}-{variant}")

    def find(self, module: str, variant: str) -> str | None:
        """The path of the compiled code beneath `root`; None when there is none that is whole."""
        name = f"{module}-{variant}"
        known = self.known(module, variant)
        if known is not None and (self.root / known).exists():
            return known
        for file in (self.root / self.key).glob(f"{name}-*{_SUFFIX}"):
            expected = file.stem.removeprefix(f"{name}-")
            try:
                found = digest(file.read_bytes())
            except FileNotFoundError:
                continue
            if found != expected:
                file.unlink(missing_ok=True)
                continue
            os.utime(file)
            self._good[name] = str(file.relative_to(self.root))
            return self._good[name]
        return None

    def store(self, module: str, variant: str, code: bytes) -> str:
        """Keep compiled code; its path beneath `root`."""
        name = f"{module}-{variant}"
        path = self.root / self.key / f"{name}-{digest(code)}{_SUFFIX}"
        handle, draft = tempfile.mkstemp(suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(code)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
            os.replace(draft, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(draft)
            raise
        self._good[name] = str(path.relative_to(self.root))
        self._shrink(path)
        return self._good[name]

    def forget(self, path: str) -> None:
        """Drop compiled code that a worker did not find, or did not take."""
        (self.root / path).unlink(missing_ok=True)
        self._good = {name: good for name, good in self._good.items() if good != path}

    def _shrink(self, newest: Path) -> None:
        """Delete what was stored longest ago, while there is too much."""
        found = sorted(
            ((file.stat().st_mtime, file.stat().st_size, file) for file in newest.parent.glob("*")),
            key=lambda entry: entry[0],
        )
        total = sum(size for _, size, _ in found)
        for _, size, file in found:
            if total <= self._keep_bytes or file == newest:
                break
            self.forget(str(file.relative_to(self.root)))
            total -= size
