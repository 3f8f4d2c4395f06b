"""What a sandbox may be asked to be: one check per field, before anything is made."""

import math
import re
from collections.abc import Mapping, Sequence

from atoll.core.errors import InvalidRequest
from atoll.core.model import Limits
from atoll.service.requests import UNSET, ChangeSandbox, CreateSandbox

MAX_SECONDS = 10 * 366 * 24 * 3600.0
MAX_LABELS = 64
MAX_LABEL_CHARS = 256
MAX_ENV_CHARS = 128 * 1024
MAX_PORTS = 64
MAX_PORT = 65_535

MAX_SECRET_FILES = 64

_SECRET_FILE = re.compile(r"/run/secrets/[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ID = re.compile(r"(sb|snap)_[0-9a-v]{26}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_create(request: CreateSandbox) -> None:
    """Raise `InvalidRequest` for the first field that is out of range."""
    check_name(request.name)
    check_labels(request.labels)
    _seconds(request.idle_timeout_s, "idle_timeout_s")
    _seconds(request.lifetime_s, "lifetime_s")
    _seconds(request.auto_delete_s, "auto_delete_s")
    _seconds(request.auto_archive_s, "auto_archive_s")
    _env(request.env)
    check_secrets(request.secrets)
    _ports(request.ports)
    if request.limits is not None:
        _limits(request.limits)


def check_change(change: ChangeSandbox) -> None:
    """The same for what may be changed later."""
    if change.name is not UNSET:
        check_name(change.name)
    if change.labels is not UNSET:
        check_labels(change.labels)
    if change.idle_timeout_s is not UNSET:
        _seconds(change.idle_timeout_s, "idle_timeout_s")
    if change.lifetime_s is not UNSET:
        _seconds(change.lifetime_s, "lifetime_s")
    if change.secrets is not UNSET:
        check_secrets(change.secrets)
    if change.auto_delete_s is not UNSET:
        _seconds(change.auto_delete_s, "auto_delete_s")
    if change.auto_archive_s is not UNSET:
        _seconds(change.auto_archive_s, "auto_archive_s")


def check_secrets(secrets: Mapping[str, str]) -> None:
    """Variables, or files of `/run/secrets`. Says names only."""
    _env({name: value for name, value in secrets.items() if name[:1] != "/"}, "secrets")
    files = {name: value for name, value in secrets.items() if name[:1] == "/"}
    for name in files:
        if not _SECRET_FILE.fullmatch(name):
            raise InvalidRequest(f"{name[:100]!a} is no file of /run/secrets.", field="secrets")
    if len(files) > MAX_SECRET_FILES or sum(map(len, files.values())) > MAX_ENV_CHARS:
        raise InvalidRequest(
            f"At most {MAX_SECRET_FILES} files with {MAX_ENV_CHARS} characters together.",
            field="secrets",
        )


def check_name(name: str | None) -> None:
    """A name goes into a path of a URL, and is never mistaken for an id."""
    if name is None:
        return
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            "A name is 1 to 63 letters, digits, dots, dashes and underscores, and begins with a "
            "letter or digit.",
            field="name",
        )
    if _ID.fullmatch(name):
        raise InvalidRequest("A name may not look like an id.", field="name")


def check_labels(labels: Mapping[str, str]) -> None:
    """Few enough, and short enough to filter by."""
    if len(labels) > MAX_LABELS:
        raise InvalidRequest(f"At most {MAX_LABELS} labels.", field="labels")
    for key, value in labels.items():
        if not key or len(key) > MAX_LABEL_CHARS or len(value) > MAX_LABEL_CHARS:
            raise InvalidRequest(
                f"A label has 1 to {MAX_LABEL_CHARS} characters, its value at most as many.",
                field="labels",
            )


def _seconds(value: float | None, field: str) -> None:
    if value is not None and not (math.isfinite(value) and 0 < value <= MAX_SECONDS):
        raise InvalidRequest(f"{field} is a positive number of seconds, or null.", field=field)


def _ports(ports: Sequence[int]) -> None:
    if len(ports) > MAX_PORTS:
        raise InvalidRequest(f"At most {MAX_PORTS} ports.", field="ports")
    for port in ports:
        if not 1 <= port <= MAX_PORT:
            raise InvalidRequest(f"A port is a number from 1 to {MAX_PORT}.", field="ports")


def _env(env: Mapping[str, str], field: str = "env") -> None:
    for name, value in env.items():
        if not _VARIABLE.fullmatch(name):
            raise InvalidRequest(f"{name!a} is no name of a variable.", field=field)
        if "\0" in value:
            raise InvalidRequest(f"The value of {name} holds a NUL.", field=field)
    if sum(len(name) + len(value) for name, value in env.items()) > MAX_ENV_CHARS:
        raise InvalidRequest(f"{field} has at most {MAX_ENV_CHARS} characters.", field=field)


def _limits(limits: Limits) -> None:
    for field in Limits.__slots__:
        value = getattr(limits, field)
        if not (math.isfinite(value) and value > 0):
            raise InvalidRequest(f"{field} is a positive number.", field=f"limits.{field}")
