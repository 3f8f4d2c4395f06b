"""npm's archives: checked against their digest, and packed again under an install path."""

import base64
import binascii
import gzip
import hashlib
import hmac
import io
import json
import re
import tarfile
import zlib
from typing import IO, Any, cast

from atoll.dialects.wasmrun.errors import BadRequest
from atoll.dialects.wasmrun.npm.choose import native

MOST_FILES = 50_000
_BUILDS = re.compile(r"\b(node-gyp|node-pre-gyp|prebuild-install|prebuildify|cmake-js|neon)\b")
_MANIFEST_BYTES = 1024 * 1024


def digest_of(integrity: str) -> bytes:
    """The sha512 that an integrity names. `BadRequest` where it names none."""
    kind, _, text = integrity.partition("-")
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if kind != "sha512" or len(digest) != hashlib.sha512().digest_size:
        raise BadRequest(f"'{integrity[:100]}' is no sha512 integrity")
    return digest


def matches(data: bytes, digest: bytes) -> bool:
    """Whether an archive is what it should be."""
    return hmac.compare_digest(hashlib.sha512(data).digest(), digest)


class _Bounded(io.RawIOBase):
    """Reads what a gzip holds, and no more than a bound."""

    def __init__(self, source: IO[bytes], most: int) -> None:
        self._source = source
        self.left = most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - a buffer has no other type
        data = self._source.read(len(buffer))
        self.left -= len(data)
        if self.left < 0:
            raise _TooMuch
        buffer[: len(data)] = data
        return len(data)


class _TooMuch(OSError):
    pass


def repack(name: str, archive: bytes, prefix: str, out: tarfile.TarFile, most: int) -> int:
    """Add a package's files under `prefix`; their size. `BadRequest` for what must not be.

    Only regular files are taken; nothing of the package is run.
    """
    size = files = 0
    bounded = _Bounded(
        cast("IO[bytes]", gzip.GzipFile(fileobj=io.BytesIO(archive))), most * 2 + 2**20
    )
    try:
        with tarfile.open(fileobj=io.BufferedReader(bounded), mode="r|") as source:
            for member in source:
                if not member.isreg():
                    continue
                path = _inside(member.name)
                if path is None:
                    raise BadRequest(f"Package '{name}' has a file outside of itself")
                size, files = size + member.size, files + 1
                if size > most or files > MOST_FILES:
                    raise _TooMuch
                data = source.extractfile(member)
                content = b"" if data is None else data.read()
                _check(name, path, content)
                entry = tarfile.TarInfo(f"{prefix}/{path}")
                entry.size = len(content)
                entry.mode = 0o755 if member.mode & 0o100 else 0o644
                out.addfile(entry, io.BytesIO(content))
    except _TooMuch:
        raise BadRequest(f"Disk usage limit exceeded: package '{name}' does not fit") from None
    except (tarfile.TarError, OSError, EOFError, zlib.error, UnicodeError) as error:
        raise BadRequest(f"Package '{name}' is no proper archive: {error}") from None
    return size


def _inside(path: str) -> str | None:
    """The path within the package; the first directory is only npm's wrapping."""
    parts = [part for part in path.split("/")[1:] if part not in {"", "."}]
    if not parts or ".." in parts or path.startswith("/") or "\0" in path:
        return None
    return "/".join(parts)


def _check(name: str, path: str, content: bytes) -> None:
    """Refuse what would have to be built, or is machine code."""
    if path == "binding.gyp" or path.endswith(".node"):
        raise native(name)
    if path == "package.json" and len(content) <= _MANIFEST_BYTES:
        try:
            manifest = json.loads(content)
        except (ValueError, RecursionError):
            return
        scripts = (
            cast("dict[str, Any]", manifest).get("scripts") if isinstance(manifest, dict) else None
        )
        for hook in ("preinstall", "install", "postinstall"):
            line = cast("dict[str, Any]", scripts).get(hook) if isinstance(scripts, dict) else None
            if isinstance(line, str) and _BUILDS.search(line):
                raise native(name)
