"""A registry on loopback, and images for it, laid out by hand."""

import gzip
import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CONFIG = """version: 0.1
storage: {{filesystem: {{rootdirectory: {place}}}}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: error}}
"""
START_S = 30.0


@contextmanager
def registry(place: Path) -> Generator[str, None, None]:
    """Its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    config = place / "registry.yml"
    config.write_text(CONFIG.format(place=place / "registry", port=port))
    with (place / "registry.log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
    try:
        until = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < until, (place / "registry.log").read_text()
                time.sleep(0.05)  # waits on purpose: another program starts to listen
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def layout(
    place: Path,
    layers: Sequence[bytes],
    config: Mapping[str, object] | None = None,
    *,
    diff_ids: Sequence[str] | None = None,
    instead: tuple[str, str] = ("", ""),
    urls: Sequence[str] = (),
) -> Path:
    """An OCI layout of one image of those layers, the oldest first.

    `instead` is a part of the configuration's text, and what to write for it; with `urls` the
    layers say that they are there instead.
    """
    blobs = place / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(data: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        media = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(data)}

    plain = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    document = {
        "architecture": "amd64",
        "os": "linux",
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids or plain)},
    }
    text = json.dumps(document).replace(*instead) if instead[0] else json.dumps(document)
    described = blob(text.encode(), "config.v1+json")
    packed = [blob(gzip.compress(layer, 1, mtime=0), "layer.v1.tar+gzip") for layer in layers]
    packed = [{**each, "urls": list(urls)} for each in packed] if urls else packed
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described,
        "layers": packed,
    }
    entry = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "image"}
    (place / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return place


def push(source: Path, target: str) -> None:
    """Bring a layout into the registry."""
    subprocess.run(
        ["skopeo", "copy", "--insecure-policy", "--quiet", "--dest-tls-verify=false",
         f"oci:{source}:image", f"docker://{target}"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
