"""The dialect's own OpenAPI document, made of the schemas that bodies are checked with."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI

from atoll.dialects.rundatsheesh import bodies
from atoll.dialects.rundatsheesh.checking import Schema

_BODIES: Mapping[tuple[str, str], Schema] = {
    ("post", "/auth/login"): bodies.LOGIN,
    ("post", "/v1/vms"): bodies.CREATE,
    ("post", "/v1/vms/{vm}/exec"): bodies.EXEC,
    ("post", "/v1/vms/{vm}/run-ts"): bodies.RUN_TS,
    ("post", "/v1/vms/{vm}/run-js"): bodies.RUN_JS,
    ("patch", "/v1/vms/{vm}/peers/{alias}"): bodies.SOURCE_MODE,
    ("post", "/internal/v1/peer/invoke"): bodies.INVOKE,
    ("post", "/v1/images"): bodies.IMAGE,
    ("post", "/v1/admin/webhooks"): bodies.WEBHOOK,
    ("patch", "/v1/admin/webhooks/{webhook}"): bodies.WEBHOOK_CHANGE,
    ("post", "/v1/admin/api-keys"): bodies.API_KEY,
}
_QUERIES: Mapping[tuple[str, str], Schema] = {
    ("get", "/v1/vms/{vm}/logs"): bodies.LOGS_QUERY,
    ("get", "/v1/vms/{vm}/exec-logs"): bodies.RUNS_QUERY,
    ("get", "/v1/snapshots"): bodies.SCOPE_QUERY,
    ("get", "/v1/admin/activity"): bodies.LIMIT_QUERY,
    ("post", "/v1/vms/{vm}/files/upload"): {"required": ["dest"], "properties": {"dest": {}}},
    ("get", "/v1/vms/{vm}/files/download"): {"required": ["path"], "properties": {"path": {}}},
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_RAW: Mapping[tuple[str, str], str] = {
    ("post", "/v1/vms/{vm}/files/upload"): "application/gzip",
    ("put", "/v1/images/{image}/kernel"): "application/octet-stream",
    ("put", "/v1/images/{image}/rootfs"): "application/octet-stream",
    ("put", "/v1/images/{image}/bundle"): "application/zip",
}
_ERROR = {
    "type": "object",
    "required": ["message"],
    "properties": {"message": {"type": "string"}, "requestId": {"type": "string"}},
}


class Application(FastAPI):
    """One whose document has our bodies and errors instead of the framework's."""

    def openapi(self) -> dict[str, Any]:
        """The document; made once."""
        if self.openapi_schema is None:
            found = super().openapi()
            found["components"] = {
                "schemas": {"Error": _ERROR},
                "securitySchemes": {
                    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                    "session": {"type": "apiKey", "in": "cookie", "name": "rds_session"},
                },
            }
            for path, operations in found["paths"].items():
                for method, operation in operations.items():
                    _complete((method, path), operation)
        return self.openapi_schema or {}


def _complete(call: tuple[str, str], operation: dict[str, Any]) -> None:
    content: dict[str, Any]
    operation["responses"].pop("422", None)
    refused = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    operation["responses"]["default"] = {"description": "Refused, and why.", "content": refused}
    if call[1].startswith("/v1/"):
        operation["security"] = [{"apiKey": []}, {"session": []}]
    if call in _BODIES:
        content = {"application/json": {"schema": _BODIES[call]}}
        operation["requestBody"] = {"required": True, "content": content}
    if call in _RAW:
        operation["requestBody"] = {"required": True, "content": {_RAW[call]: _BINARY}}
    if call in _QUERIES:
        schema = _QUERIES[call]
        operation.setdefault("parameters", []).extend(
            {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "schema": each or {"type": "string"},
            }
            for name, each in schema["properties"].items()
        )
