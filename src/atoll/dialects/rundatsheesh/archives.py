"""The routes of archives: a tar.gz into a VM, and out of it."""

import gzip
import tarfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import IO, cast

from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from atoll.core.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded
from atoll.core.model import MIB, WORKSPACE
from atoll.dialects.rundatsheesh.errors import SheeshError, bad, guest_refused
from atoll.dialects.rundatsheesh.running import inside
from atoll.dialects.rundatsheesh.state import done, state
from atoll.dialects.rundatsheesh.who import admitted
from atoll.http.streaming import ByteStream, gzipped

router = APIRouter(prefix="/v1/vms/{vm}/files")
UPLOAD_BYTES = 10 * MIB
UNPACKED_BYTES = 50 * MIB
DOWNLOAD_BYTES = 50_000_000
ENTRIES_MAX = 10_000
_UPLOAD = "POST /files/upload"
_IN_MEMORY = MIB
_BLOCK = 256 * 1024
_GZIP = b"\x1f\x8b"
# Headers and padding: what an archive may have beside the bytes of its files.
_HEADERS_BYTES = ENTRIES_MAX * 4096


class _Unfit(ValueError):
    """An archive that is not unpacked, and why."""


@router.post("/upload", status_code=204)
async def upload(request: Request, vm: str) -> Response:
    """Unpack an archive beneath a directory; all of it is looked at before anything is written."""
    here, who = state(request), await admitted(request)
    record = await here.machines.running(who, vm)
    dest = request.query_params.get("dest", "")
    if not dest:
        raise bad("querystring must have required property 'dest'")
    where = inside(here, dest, _UPLOAD)
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > UPLOAD_BYTES:
                raise SheeshError(413, "Body too large")
            await to_thread.run_sync(spool.write, chunk)
        try:
            await to_thread.run_sync(_examine, cast("IO[bytes]", spool))
            await here.services.files.unpack(who, record.id, where, _blocks(spool), whole=True)
        except (_Unfit, InvalidRequest, NotFound, Conflict) as error:
            raise guest_refused(_UPLOAD, str(error)) from None
        except QuotaExceeded as error:
            raise guest_refused(_UPLOAD, error.detail, 413) from None
    return done()


@router.get("/download")
async def download(request: Request, vm: str) -> Response:
    """Pack a directory, or one file."""
    here, who = state(request), await admitted(request)
    record = await here.machines.running(who, vm)
    path = request.query_params.get("path", "")
    try:
        where = inside(here, path, "GET /files/download") if path else None
    except SheeshError:
        where = None
    if where is None:
        raise bad("Invalid download path")
    try:
        found = await here.services.files.stat(who, record.id, where)
    except (NotFound, InvalidRequest):
        raise bad("Invalid download path") from None
    chunks = gzipped(here.services.files.pack(who, record.id, where, dotted=True))
    spool, size = await _spooled(chunks)
    name = PurePosixPath(found.path).name or PurePosixPath(WORKSPACE).name
    ascii_name = "".join(each if each.isascii() and each.isalnum() else "_" for each in name)
    headers = {
        "content-type": "application/gzip",
        "content-length": str(size),
        "content-disposition": f'attachment; filename="{ascii_name}.tar.gz"',
        "cache-control": "no-cache",
    }
    return ByteStream(_blocks(spool, close=True), 200, headers)


async def _spooled(
    chunks: AsyncGenerator[bytes, None],
) -> tuple[SpooledTemporaryFile[bytes], int]:
    """All of it, on the disk beyond the first of it: nobody gets half an archive. 413."""
    spool = SpooledTemporaryFile[bytes](max_size=_IN_MEMORY)
    size = 0
    try:
        async with aclosing(chunks) as source:
            async for chunk in source:
                size += len(chunk)
                if size > DOWNLOAD_BYTES:
                    raise SheeshError(413, f"Download too large (max={DOWNLOAD_BYTES})")
                await to_thread.run_sync(spool.write, chunk)
    except BaseException:
        spool.close()
        raise
    return spool, size


async def _blocks(
    spool: SpooledTemporaryFile[bytes], *, close: bool = False
) -> AsyncGenerator[bytes, None]:
    try:
        await to_thread.run_sync(spool.seek, 0)
        while block := await to_thread.run_sync(spool.read, _BLOCK):
            yield block
    finally:
        if close:
            spool.close()


class _Counted:
    """A stream that ends in an error when it is too long: what is small may unpack to much."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self._left = UNPACKED_BYTES + _HEADERS_BYTES

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(min(size, _BLOCK) if size >= 0 else _BLOCK)
        self._left -= len(data)
        if self._left < 0:
            raise _Unfit(f"unpacked it is larger than {UNPACKED_BYTES} bytes")
        return data


def _examine(spool: IO[bytes]) -> None:
    """Raise `_Unfit` for an archive with anything in it that is not plain, or too much."""
    spool.seek(0)
    packed = spool.read(2) == _GZIP
    spool.seek(0)
    source = cast("IO[bytes]", gzip.GzipFile(fileobj=spool, mode="rb") if packed else spool)
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", _Counted(source)), mode="r|") as archive:
            left = UNPACKED_BYTES
            for entries, member in enumerate(archive, 1):
                left -= member.size if member.isreg() else 0
                if entries > ENTRIES_MAX:
                    raise _Unfit(f"there are more than {ENTRIES_MAX} entries")
                if left < 0:
                    raise _Unfit(f"unpacked it is larger than {UNPACKED_BYTES} bytes")
                _plain(member)
                archive.members.clear()  # type: ignore[attr-defined]  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
    except _Unfit:
        raise
    except (
        tarfile.TarError,
        OSError,
        EOFError,
        ValueError,
        OverflowError,
        RecursionError,
    ) as error:
        raise _Unfit(f"not a tar.gz archive: {error}") from None


def _plain(member: tarfile.TarInfo) -> None:
    name = member.name[:200]
    if member.name.startswith("/") or ".." in member.name.split("/") or "\0" in member.name:
        raise _Unfit(f"entry {name!r} leaves the directory")
    if member.issym() or member.islnk():
        raise _Unfit(f"entry {name!r} is a link")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise _Unfit(f"entry {name!r} is neither a file nor a directory")
