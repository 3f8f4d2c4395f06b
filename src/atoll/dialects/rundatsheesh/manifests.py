"""What a VM offers to others: its manifest, and the files that a consumer gets for it."""

import io
import json
import posixpath
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atoll.core.model import WORKSPACE
from atoll.dialects.rundatsheesh.checking import Schema, checked
from atoll.dialects.rundatsheesh.errors import SheeshError, bad
from atoll.dialects.rundatsheesh.labels import PeerLink

PLACE = f"{WORKSPACE}/.rds-peer/manifest.json"
MANIFEST_BYTES = 256 * 1024
SOURCE_BYTES = 1024 * 1024
PEERS, BRIDGE = "peers", ".rds"
_TEXT: Schema = {"type": "string", "maxLength": 16_384}
_NAME: Schema = {"type": "string", "pattern": r"^[A-Za-z_$][A-Za-z0-9_$]{0,127}$"}
_EXPORT: Schema = {
    "type": "object",
    "required": ["name", "description", "params", "returns", "examples"],
    "properties": {
        "name": _NAME,
        "description": _TEXT,
        "params": {"type": "array", "items": {"additionalProperties": True}, "maxItems": 64},
        "returns": {
            "type": "object",
            "required": ["description", "schema"],
            "properties": {"description": _TEXT, "schema": {"additionalProperties": True}},
        },
        "examples": {
            "type": "array",
            "items": {"additionalProperties": True},
            "minItems": 1,
            "maxItems": 64,
        },
    },
}
_MANIFEST: Schema = {
    "type": "object",
    "required": ["sdk", "modules"],
    "properties": {
        "sdk": {
            "type": "object",
            "required": ["name", "description"],
            "properties": {"name": _TEXT, "description": _TEXT},
        },
        "modules": {
            "type": "array",
            "minItems": 1,
            "maxItems": 64,
            "items": {
                "type": "object",
                "required": ["path", "exports"],
                "properties": {
                    "path": {
                        "type": "string",
                        "pattern": r"^[A-Za-z0-9_@./-]{1,200}\.(ts|mts|js|mjs)$",
                    },
                    "description": _TEXT,
                    "exports": {"type": "array", "items": _EXPORT, "maxItems": 128},
                },
            },
        },
    },
}
_RESERVED = "default"
_BRIDGE_MODULE = """\
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { Buffer } from "node:buffer";

export function invoke(alias, modulePath, exportName, args, timeoutMs = 30000) {
  const { url, token } = JSON.parse(readFileSync("/workspace/.rds/bridge.json", "utf8"));
  const body = Buffer.from(JSON.stringify({ alias, modulePath, exportName, args, timeoutMs }));
  const headers = {
    "authorization": `Bearer ${token}`,
    "content-type": "application/json",
    "content-length": body.length,
  };
  return new Promise((resolve, reject) => {
    const to = `${url}/internal/v1/peer/invoke`;
    const call = request(to, { method: "POST", headers }, (answer) => {
      const parts = [];
      answer.on("data", (part) => parts.push(part));
      answer.on("error", reject);
      answer.on("end", () => {
        const found = JSON.parse(Buffer.concat(parts).toString("utf8"));
        if (answer.statusCode === 200) resolve(found.result);
        else reject(new Error(found.message));
      });
    });
    call.on("error", reject);
    call.end(body);
  });
}
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """A provider that was looked at. `sources` are its modules' files, where they are mounted."""

    link: PeerLink
    manifest: Mapping[str, Any]
    sources: Mapping[str, bytes]

    @property
    def modules(self) -> Sequence[Mapping[str, Any]]:
        """Its modules, their paths relative to /workspace."""
        found: Sequence[Mapping[str, Any]] = self.manifest["modules"]
        return found


def understood(alias: str, data: bytes) -> Mapping[str, Any]:
    """A manifest. 400 says what is wrong with it."""
    try:
        manifest: Mapping[str, Any] = checked(_MANIFEST, json.loads(data), "manifest")
    except (ValueError, RecursionError):
        raise bad(f"Peer alias {alias}: provider manifest is not JSON") from None
    except SheeshError as error:
        raise bad(f"Peer alias {alias}: invalid provider manifest: {error.detail}") from None
    for module in manifest["modules"]:
        path: str = module["path"]
        if path.startswith("/") or ".." in path.split("/") or posixpath.normpath(path) != path:
            raise bad(f"Peer alias {alias}: module path {path} must be relative to {WORKSPACE}")
    return manifest


def declares(manifest: Mapping[str, Any], module: str, export: str) -> bool:
    """Whether it offers that function."""
    return any(
        each["path"] == module and any(one["name"] == export for one in each["exports"])
        for each in manifest["modules"]
    )


def archive(peers: Iterable[Peer]) -> bytes:
    """All that a consumer gets, as a tar to be unpacked in its /workspace."""
    files: dict[str, bytes] = {f"{BRIDGE}/bridge.mjs": _BRIDGE_MODULE.encode()}
    index: list[dict[str, Any]] = []
    for peer in peers:
        index.append(_indexed(peer))
        files.update(_files(peer))
    files[f"{PEERS}/index.json"] = _json({"peers": index})
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o444
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _indexed(peer: Peer) -> dict[str, Any]:
    return {
        **peer.link.shown(),
        "sdk": peer.manifest["sdk"],
        "modules": [
            {
                "path": each["path"],
                "proxy": f"/{PEERS}/{peer.link.alias}/proxy/{each['path']}",
                "exports": [one["name"] for one in each["exports"]],
            }
            for each in peer.modules
        ],
    }


def _files(peer: Peer) -> dict[str, bytes]:
    root = f"{PEERS}/{peer.link.alias}"
    found = {
        f"{root}/manifest.json": _json(peer.manifest),
        f"{root}/README.md": _readme(peer).encode(),
    }
    for module in peer.modules:
        path: str = module["path"]
        proxy = _proxy(peer.link.alias, module).encode()
        found[f"{root}/proxy/{path}"] = proxy
        stem, dot, ending = path.rpartition(".")
        if dot and ending in {"ts", "mts", "js"}:
            found.setdefault(f"{root}/proxy/{stem}.mjs", proxy)  # node takes no TypeScript
    for path, data in peer.sources.items():
        found[f"{root}/source/{path}"] = data
    return found


def _proxy(alias: str, module: Mapping[str, Any]) -> str:
    lines = [f'import {{ invoke }} from "file://{WORKSPACE}/{BRIDGE}/bridge.mjs";', ""]
    for each in module["exports"]:
        name = each["name"]
        call = f"invoke({_word(alias)}, {_word(module['path'])}, {_word(name)}, args)"
        head = "export default async function" if name == _RESERVED else "export async function"
        label = "" if name == _RESERVED else f" {name}"
        lines.append(f"{head}{label}(...args) {{ return await {call}; }}")
    return "\n".join(lines) + "\n"


def _readme(peer: Peer) -> str:
    sdk = peer.manifest["sdk"]
    lines = [f"# {sdk['name']}", "", sdk["description"], ""]
    for module in peer.modules:
        lines += [f"## {module['path']}", ""]
        if module.get("description"):
            lines += [module["description"], ""]
        for each in module["exports"]:
            lines += [f"### {each['name']}", "", each["description"], ""]
            lines += [f"Returns: {each['returns']['description']}", "", "```json"]
            lines += [json.dumps(each["examples"], indent=2, ensure_ascii=False), "```", ""]
    return "\n".join(lines)


def _word(text: str) -> str:
    return json.dumps(text)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "replace")
