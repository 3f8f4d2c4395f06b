"""Names, paths, times and labels as agentkernel writes them."""

import base64
import binascii
import posixpath
import re
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from atoll.core.records import SandboxRecord
from atoll.dialects.agentkernel.errors import BadRequest, NotYet
from atoll.http.errors import printable

LONGEST_NAME = 63
_NAME = re.compile(r"[A-Za-z0-9]+([_-][A-Za-z0-9]+)*")
_SYSTEM = ("/proc", "/sys", "/dev", "/etc/passwd", "/etc/shadow", "/etc/sudoers", "/root/.ssh")
_SPAN = re.compile(r"\s*(\d{1,9})\s*([smhdw]?)\s*")
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_VERSION, _VARIANT = 7, 2
_PORT_DIGITS = 5


def is_name(name: str) -> bool:
    """Whether agentkernel can speak of a sandbox of that name."""
    return len(name) <= LONGEST_NAME and _NAME.fullmatch(name) is not None


def check_name(name: str, what: str = "sandbox") -> str:
    """The name; `BadRequest` with the rule."""
    if is_name(name):
        return name
    shown = printable(name)[:80]
    raise BadRequest(
        f"Invalid {what} name '{shown}': 1 to {LONGEST_NAME} letters, digits, '-' and '_', "
        "a letter or digit first and last, no two of '-' and '_' side by side"
    )


def name_of(record: SandboxRecord) -> str:
    """What a sandbox is called here: its name if that can be one, else its id."""
    name = record.name
    return name if name is not None and is_name(name) else record.id


def place(path: str) -> str:
    """The absolute path in the sandbox of what follows `/files/`."""
    whole = "/" + path.lstrip("/")
    shown = printable(whole)[:200]
    if ".." in path:
        raise BadRequest(f"Path traversal not allowed: {shown}")
    if "\0" in path:
        raise BadRequest("Invalid path: it holds a NUL")
    whole = posixpath.normpath(whole)
    if any(whole == each or whole.startswith(f"{each}/") for each in _SYSTEM):
        raise BadRequest(f"Cannot access system path: {shown}")
    return whole


def decoded(content: str, encoding: str) -> bytes:
    """The bytes that a request means."""
    if encoding != "base64":
        try:
            return content.encode()
        except UnicodeEncodeError:
            raise BadRequest("Invalid content: it is not valid Unicode") from None
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"Invalid base64: {error}") from None


def encoded(data: bytes) -> tuple[str, str]:
    """A file's content as text if it is that, else base64; and which."""
    try:
        return data.decode(), "utf8"
    except UnicodeDecodeError:
        return base64.b64encode(data).decode("ascii"), "base64"


def moment(at: float) -> str:
    """RFC 3339, UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds(text: str) -> float:
    """A span such as `1h`, in seconds."""
    found = _SPAN.fullmatch(text)
    if found is None or not int(found[1]):
        raise BadRequest(f"Invalid time format: {printable(text)[:80]} (say 30m, 1h or 7d)")
    return float(int(found[1]) * _SECONDS[found[2]])


def variables(pairs: Sequence[str]) -> dict[str, str]:
    """`K=V` each."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadRequest(f"Invalid env '{printable(pair)[:80]}'. Use: KEY=value")
        found[name] = value
    return found


def port(given: int | str) -> int:
    """A port of a sandbox; `NotYet` for one that is to be a port of the host, too."""
    word = str(given).removesuffix("/tcp")
    if ":" in word:
        raise NotYet("Publishing a port on the host")
    if not (word.isascii() and word.isdecimal() and len(word) <= _PORT_DIGITS):
        raise BadRequest(f"Invalid port '{printable(str(given))[:80]}'")
    return int(word)


def uuid_of(sandbox_id: str) -> str:
    """A version 7 UUID of an id: both begin with the same milliseconds."""
    word = sandbox_id.partition("_")[2].upper()
    number = int.from_bytes(base64.b32hexdecode(word + "=" * (-len(word) % 8)), "big")
    number &= ~(0xF << 76) & ~(0x3 << 62)
    return str(uuid.UUID(int=number | _VERSION << 76 | _VARIANT << 62))


def just_before(wanted: str) -> tuple[str, str]:
    """The UUID in its usual form, and what sorts before all ids that it can be of."""
    try:
        found = uuid.UUID(wanted)
    except ValueError:
        raise BadRequest("Invalid sandbox UUID") from None
    word = base64.b32hexencode(found.bytes).decode("ascii").lower()
    return str(found), f"sb_{word[:_SURE]}"


# 45 of the 48 bits of the time: what both have before the first bit of the version.
_SURE = 9
