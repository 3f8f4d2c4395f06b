"""Ids as run-dat-sheesh writes them, and times."""

import base64
import binascii
import uuid
from datetime import UTC, datetime

SNAPSHOT = "snap-"
_PADDING = "======"


def vm_id(sandbox_id: str) -> str:
    """The UUID with a sandbox's 128 bits."""
    return _uuid(sandbox_id)


def snapshot_id(own: str) -> str:
    """The same of a snapshot."""
    return SNAPSHOT + _uuid(own)


def sandbox_of(text: str) -> str | None:
    """The sandbox's id; None when the text is no UUID."""
    return _own("sb", text)


def snapshot_of(text: str) -> str | None:
    """The snapshot's id; None when the text cannot be one."""
    if not text.startswith(SNAPSHOT):
        return None
    return _own("snap", text[len(SNAPSHOT) :])


def moment(at: float) -> str:
    """RFC 3339, UTC, with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _uuid(own: str) -> str:
    code = own.partition("_")[2].upper() + _PADDING
    return str(uuid.UUID(bytes=base64.b32hexdecode(code)))


def _own(prefix: str, text: str) -> str | None:
    try:
        raw = uuid.UUID(text).bytes
    except (ValueError, binascii.Error):
        return None
    return f"{prefix}_{base64.b32hexencode(raw).decode('ascii').rstrip('=').lower()}"
