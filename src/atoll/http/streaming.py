"""Bytes on their way out, and compression that does not hold the event loop up."""

import zlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import anyio.to_thread
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from atoll.http.patience import while_connected

Chunks = AsyncGenerator[bytes, None]
_BATCH = 256 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_LEVEL = 5


class ByteStream(Response):
    """A response made of chunks. What fails before the first of them is an error response."""

    def __init__(self, chunks: Chunks, status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status_code=status, headers=dict(headers))
        if "content-length" not in headers:
            del self.headers["content-length"]
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _ = scope
        await while_connected(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        async with aclosing(self._chunks) as chunks:
            first = await anext(chunks, None)
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            if first is not None:
                await send({"type": "http.response.body", "body": first, "more_body": True})
                async for chunk in chunks:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def gzipped(chunks: Chunks) -> Chunks:
    """The same, compressed in a thread, with a bounded amount waiting."""
    squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    batch = bytearray()
    async with aclosing(chunks) as source:
        async for chunk in source:
            batch += chunk
            if len(batch) >= _BATCH:
                piece = await anyio.to_thread.run_sync(squeeze.compress, bytes(batch))
                batch.clear()
                if piece:
                    yield piece
    yield await anyio.to_thread.run_sync(squeeze.compress, bytes(batch)) + squeeze.flush()
