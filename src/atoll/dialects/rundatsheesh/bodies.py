"""What requests carry: the schemas, which the document shows too, and how a body is read."""

import json
from typing import Any

from starlette.requests import Request

from atoll.dialects.rundatsheesh.checking import Schema, checked
from atoll.dialects.rundatsheesh.errors import SheeshError, bad

KIB = 1024
USUAL_BYTES = 256 * KIB
CREATE_BYTES = 64 * KIB
PROGRAM_BYTES = 1024 * KIB
LOGIN_BYTES = 16 * KIB

_TEXT: Schema = {"type": "string"}
_TEXTS: Schema = {"type": "array", "items": _TEXT, "maxItems": 4096}
_MILLIS: Schema = {"type": "integer", "minimum": 1}
_ALIAS = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"
MODES = ("hidden", "mounted")


def _object(required: tuple[str, ...], **properties: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": properties}


LOGIN = _object(("email", "password"), email=_TEXT, password={"type": "string", "maxLength": 1024})
CREATE = _object(
    ("cpu", "memMb", "allowIps"),
    cpu={"type": "number"},
    memMb={"type": "number"},
    allowIps={"type": "array", "items": _TEXT, "maxItems": 4096},
    outboundInternet={"type": "boolean"},
    userOverlaySnapshotId=_TEXT,
    snapshotId=_TEXT,
    imageId=_TEXT,
    diskSizeMb={"type": "integer"},
    secretEnv={"type": "array", "items": _TEXT, "maxItems": 256},
    peerLinks={
        "type": "array",
        "maxItems": 16,
        "items": _object(
            ("alias", "vmId"),
            alias={"type": "string", "pattern": _ALIAS},
            vmId={"type": "string", "minLength": 1},
            sourceMode={"type": "string", "enum": MODES},
        ),
    },
)
EXEC = _object(
    ("cmd",),
    cmd=_TEXT,
    cwd=_TEXT,
    env={"type": "object", "additionalProperties": _TEXT},
    timeoutMs=_MILLIS,
)
_PROGRAM: dict[str, Schema] = {
    "code": _TEXT,
    "path": _TEXT,
    "args": _TEXTS,
    "env": _TEXTS,
    "timeoutMs": _MILLIS,
}
RUN_TS = _object((), **_PROGRAM, denoFlags=_TEXTS)
RUN_JS = _object((), **_PROGRAM, nodeFlags=_TEXTS)
SOURCE_MODE = _object(("sourceMode",), sourceMode={"type": "string", "enum": MODES})
INVOKE = _object(
    ("alias", "modulePath", "exportName"),
    alias=_TEXT,
    modulePath=_TEXT,
    exportName=_TEXT,
    args={"type": "array", "items": {}},
    timeoutMs={"type": "integer", "minimum": 1, "maximum": 120_000},
)
IMAGE = _object(
    ("name",),
    name={"type": "string", "minLength": 1, "maxLength": 200},
    description={"type": "string", "maxLength": 4000},
)
_WEBHOOK: dict[str, Schema] = {
    "name": {"type": "string", "minLength": 1, "maxLength": 200},
    "url": {"type": "string", "minLength": 1, "maxLength": 2048},
    "enabled": {"type": "boolean"},
    "eventTypes": {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 64},
}
WEBHOOK = _object(("name", "url", "eventTypes"), **_WEBHOOK)
WEBHOOK_CHANGE = _object((), **_WEBHOOK)
API_KEY = _object(
    ("name",),
    name={"type": "string", "minLength": 1, "maxLength": 100},
    expiresAt=_TEXT,
)
LOGS_QUERY = _object(
    (),
    type=_TEXT,
    tail={"type": "integer", "minimum": 1, "maximum": 1000},
)
RUNS_QUERY = _object(
    (),
    limit={"type": "integer", "minimum": 1, "maximum": 200},
    type={"type": "string", "enum": ("all", "exec", "run-ts", "run-js")},
)
SCOPE_QUERY = _object((), scope={"type": "string", "enum": ("user", "internal", "all")})
LIMIT_QUERY = _object((), limit={"type": "integer", "minimum": 1, "maximum": 200})


async def read(request: Request, schema: Schema, most: int = USUAL_BYTES) -> dict[str, Any]:
    """The body, checked. `SheeshError` 400 or 413."""
    body = await raw(request, most)
    if not body:
        raise bad("body must be object")
    try:
        found = json.loads(body, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise bad("Body is not valid JSON but content-type is set to 'application/json'") from None
    checked_body: dict[str, Any] = checked(schema, found)
    return checked_body


async def raw(request: Request, most: int) -> bytes:
    """The bytes of a body that is short."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise SheeshError(413, "Body too large")
    return bytes(body)


def query(request: Request, schema: Schema) -> dict[str, Any]:
    """The parameters of a URL, checked."""
    found: dict[str, Any] = checked(schema, dict(request.query_params), "querystring")
    return found


def _constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")
