"""Archives on the host's disk, by their digest. Whatever is read is checked again."""

import os
import secrets
from pathlib import Path

import anyio
from anyio import to_thread

from atoll.dialects.wasmrun.npm.archives import matches


class Cache:
    """A directory of archives, bounded; the longest unused go first."""

    def __init__(self, place: Path, most_bytes: int) -> None:
        self._place = place
        self._most = most_bytes
        self._tidying = anyio.Lock()

    async def get(self, digest: bytes) -> bytes | None:
        """The archive; None when it is not there, or is not what it was."""
        return await to_thread.run_sync(self._get, digest)

    async def put(self, digest: bytes, data: bytes) -> None:
        """Keep it, if that can be done."""
        async with self._tidying:
            await to_thread.run_sync(self._put, digest, data)

    def _get(self, digest: bytes) -> bytes | None:
        path = self._place / digest.hex()
        try:
            data = path.read_bytes()
            if matches(data, digest):
                os.utime(path)
                return data
            path.unlink()
        except OSError:
            pass
        return None

    def _put(self, digest: bytes, data: bytes) -> None:
        try:
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self._place / f".{secrets.token_hex(8)}"
            try:
                draft.write_bytes(data)
                draft.replace(self._place / digest.hex())
            finally:
                draft.unlink(missing_ok=True)
            self._tidy()
        except OSError:
            return

    def _tidy(self) -> None:
        if not self._most:
            return
        found = sorted(
            ((entry.stat(), entry) for entry in self._place.iterdir()),
            key=lambda each: each[0].st_mtime,
        )
        total = sum(stat.st_size for stat, _ in found)
        for stat, entry in found[:-1]:
            if total <= self._most:
                return
            entry.unlink(missing_ok=True)
            total -= stat.st_size
