# Generated from atoll/client/aio by scripts/sync_client.py. Change it there.
# fmt: off
# ruff: noqa: C416, I001, RUF100, UP028
"""A sandbox's files."""

import tempfile
from collections.abc import Generator, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from atoll.client import model, readers, trees
from atoll.client.sync.drive import blocking, surely
from atoll.client.sync.transport import Transport
from atoll.client.document import Document
from atoll.client.options import Content
from atoll.client.request import Body, Request, below, get
from atoll.client.spool import Progress, Spool, counted, pieces

_RAW = {"Accept": "*/*"}
_TRANSFER_S = 600.0


class Files:
    """Paths are relative to `/workspace`, or absolute. Names that are not UTF-8 hold surrogates."""

    def __init__(self, transport: Transport, sandbox_path: str) -> None:
        self._transport = transport
        self._root = sandbox_path

    def _url(self, path: str) -> str:
        return f"{self._root}/files/{below(path)}"

    def read(self, path: str) -> bytes:
        """The whole content."""
        request = Request("GET", self._url(path), repeatable=True, headers=_RAW)
        return (self._transport.send(request)).content

    def read_text(self, path: str) -> str:
        """The whole content, which must be UTF-8."""
        return (self.read(path)).decode()

    def stream(self, path: str) -> Generator[bytes, None]:
        """The content, piece by piece."""
        request = Request("GET", self._url(path), repeatable=True, headers=_RAW)
        return self._transport.chunks(request)

    def write(
        self,
        path: str,
        data: Content,
        *,
        mode: int | None = None,
        if_match: str | None = None,
    ) -> model.FileInfo:
        """Create or replace a file whole, with its parents.

        `if_match` is an etag that must still hold, or "*" for "must exist", or "" for "must not".
        """
        body = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        return self._put(path, body, {}, mode, if_match)

    def upload(
        self, local: Path, path: str, *, mode: int | None = None, progress: Progress | None = None
    ) -> model.FileInfo:
        """Write a local file to a path, without holding it in memory."""
        size = (blocking(local.stat)).st_size
        headers = {"Content-Length": str(size)}
        return self._put(path, lambda: pieces(local, progress), headers, mode, None)

    def download(self, path: str, local: Path, *, progress: Progress | None = None) -> None:
        """Write a path's content to a local file; a half-written one is removed."""
        spool = blocking(lambda: Spool(local))
        try:
            self._into(self.stream(path), spool.write, progress)
            blocking(spool.settle)
        finally:
            surely(spool.discard)

    def stat(self, path: str) -> model.FileInfo:
        """One path; a link is reported, not followed."""
        return readers.file(self._transport.json(get(self._url(path), stat=True)))

    def list(self, path: str = ".", *, depth: int = 1) -> list[model.FileInfo]:
        """What is beneath a directory, sorted by path."""
        request = get(self._url(path), list=True, depth=depth)
        page = self._transport.json(request)
        return [readers.file(each) for each in page.items("items")]

    def exists(self, path: str) -> bool:
        """Whether there is anything at the path."""
        return self._transport.exists(get(self._url(path), stat=True))

    def mkdir(self, path: str, *, mode: int = 0o755, parents: bool = True) -> model.FileInfo:
        """Make a directory."""
        return self._do(path, {"op": "mkdir", "mode": mode, "parents": parents})

    def move(self, source: str, target: str, *, overwrite: bool = False) -> model.FileInfo:
        """Rename."""
        return self._do(source, {"op": "move", "to": target, "overwrite": overwrite})

    def remove(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file, an empty directory, or with `recursive` a whole tree."""
        query: dict[str, bool] = {"recursive": True} if recursive else {}
        self._transport.send(Request("DELETE", self._url(path), query=query))

    def watch(self, path: str = ".") -> Generator[model.Change, None]:
        """What changes in a directory, from now on; it never ends by itself."""
        stream = self._transport.events(get(f"{self._root}/watch", path=path), last="")
        with closing(stream) as events:
            for happened in events:
                if happened.name == "change":
                    yield readers.change(Document.parse(happened.data))

    def upload_dir(
        self, local: Path, path: str = ".", *, progress: Progress | None = None
    ) -> int:
        """Copy everything beneath a local directory to a path; the number of entries."""
        return self.put_archive(path, lambda: counted(trees.packed(local), progress))

    def download_dir(
        self, path: str, local: Path, *, progress: Progress | None = None
    ) -> trees.Unpacked:
        """Copy everything beneath a path to a local directory; what is unsafe is left out."""
        with blocking(tempfile.TemporaryFile) as spool:
            self._into(self.get_archive(path), spool.write, progress)
            blocking(lambda: spool.seek(0))
            return blocking(lambda: trees.unpack(spool, local))

    def put_archive(self, path: str, body: bytes | Body) -> int:
        """Unpack a tar or tar.gz stream beneath a path; the number of entries."""
        request = Request(
            "PUT",
            f"{self._root}/archive",
            query={"path": path},
            body=body,
            headers={"Content-Type": "application/x-tar"},
            repeatable=True,
            read_s=_TRANSFER_S,
        )
        return (self._transport.json(request)).whole("entries")

    def get_archive(self, path: str = ".") -> Generator[bytes, None]:
        """A tar stream of everything beneath a path."""
        return self._transport.chunks(self._archive(path))

    def _archive(self, path: str) -> Request:
        return Request(
            "GET",
            f"{self._root}/archive",
            query={"path": path},
            headers={"Accept": "application/x-tar"},
            repeatable=True,
            read_s=_TRANSFER_S,
        )

    def _put(
        self,
        path: str,
        body: bytes | Body,
        headers: dict[str, str],
        mode: int | None,
        if_match: str | None,
    ) -> model.FileInfo:
        headers = {"Content-Type": "application/octet-stream", **headers}
        if if_match == "":
            headers["If-None-Match"] = "*"
        elif if_match is not None:
            headers["If-Match"] = if_match
        request = Request(
            "PUT",
            self._url(path),
            query={} if mode is None else {"mode": f"{mode:o}"},
            body=body,
            headers=headers,
            # Conditions make the second of two writes fail although the first was ours.
            repeatable=if_match is None,
            read_s=_TRANSFER_S,
        )
        return readers.file(self._transport.json(request))

    def _do(self, path: str, operation: dict[str, object]) -> model.FileInfo:
        request = Request("POST", self._url(path), json=operation)
        return readers.file(self._transport.json(request))

    def _into(
        self,
        chunks: Generator[bytes, None],
        write: Callable[[bytes], object],
        progress: Progress | None,
    ) -> None:
        with closing(chunks):
            for chunk in chunks:
                blocking(partial(write, chunk))
                if progress is not None:
                    progress(len(chunk))
