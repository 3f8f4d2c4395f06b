"""An npm registry of our own on loopback, with small packages made here."""

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


def archive(files: Mapping[str, str | bytes], *, wrapping: str = "package") -> bytes:
    """An archive as npm makes it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(f"{wrapping}/{name}")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def integrity(data: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


@dataclass
class Registry:
    """What it has, and what it was asked for."""

    url: str = ""
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    archives: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def add(
        self,
        name: str,
        version: str,
        main: str = "",
        *,
        dependencies: Mapping[str, str] | None = None,
        files: Mapping[str, str | bytes] | None = None,
        data: bytes | None = None,
        tags: tuple[str, ...] = ("latest",),
        **more: Any,
    ) -> None:
        """Publish a version."""
        manifest = {"name": name, "version": version, **more}
        made = {"package.json": json.dumps(manifest), "index.js": main, **(files or {})}
        data = archive(made) if data is None else data
        path = f"/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
        self.archives[path] = data
        document = self.documents.setdefault(name, {"name": name, "versions": {}, "dist-tags": {}})
        document["versions"][version] = {
            **manifest,
            "dependencies": dict(dependencies or {}),
            "dist": {"tarball": f"{self.url}{path}", "integrity": integrity(data)},
        }
        for tag in tags:
            document["dist-tags"][tag] = version


@contextmanager
def serving() -> Iterator[Registry]:
    """A registry, for the length of the block."""
    registry = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = unquote(self.path)
            registry.asked.append(path)
            found = registry.archives.get(path)
            if found is None and path[1:] in registry.documents:
                found = json.dumps(registry.documents[path[1:]]).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("content-length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        def log_message(self, *_: Any) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        registry.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield registry
        finally:
            server.shutdown()
            thread.join()
