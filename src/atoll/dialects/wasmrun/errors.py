"""wasmrun's shape of an error, and the table from ours to it."""

from collections.abc import Mapping

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Scope

from atoll.core import errors as core
from atoll.http.dialect import own_path
from atoll.http.errors import Refused, printable

UNAUTHORIZED = "Unauthorized: missing or invalid API key (expected 'Authorization: Bearer <key>')"
INTERNAL = 500
LONGEST = 1000


class WasmrunError(core.AtollError):
    """An error in wasmrun's own words: its status, and its whole text."""

    def __init__(self, status: int, text: str, *, rejected: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.rejected = rejected


class BadRequest(WasmrunError):
    """400."""

    def __init__(self, text: str) -> None:
        super().__init__(400, f"Bad request: {text}")


class NothingThere(WasmrunError):
    """404 for anything but a session."""

    def __init__(self, text: str) -> None:
        super().__init__(404, f"Not found: {text}")


class NoSession(WasmrunError):
    """404: never was, has been swept, or is another tenant's."""

    def __init__(self, session_id: str) -> None:
        super().__init__(404, f"Session not found: {session_id}")


class Expired(WasmrunError):
    """410: until it is swept."""

    def __init__(self, session_id: str) -> None:
        super().__init__(410, f"Session expired: {session_id}")


class TooMany(WasmrunError):
    """429. `rejected` is the reason that metrics count it under."""

    def __init__(self, text: str, rejected: str | None = None) -> None:
        super().__init__(429, text, rejected=rejected)


# Status, and the words before the detail.
TABLE: Mapping[type[core.AtollError], tuple[int, str]] = {
    core.AtollError: (500, "Internal error: "),
    core.InvalidRequest: (400, "Bad request: "),
    core.Unauthenticated: (401, "Unauthorized: "),
    core.Forbidden: (403, "Forbidden: "),
    core.NotFound: (404, "Not found: "),
    core.Gone: (404, "Not found: "),
    core.Conflict: (400, "Bad request: "),
    core.PreconditionFailed: (400, "Bad request: "),
    core.TooLarge: (400, "Bad request: "),
    core.QuotaExceeded: (400, "Bad request: Disk usage limit exceeded: "),
    core.Busy: (429, "Rate limit exceeded: "),
    core.Unsupported: (400, "Bad request: "),
    core.NotListening: (400, "Bad request: "),
    core.Unavailable: (500, "Internal error: "),
    core.BackendFault: (500, "Internal error: "),
}


def told(error: core.AtollError) -> tuple[int, str]:
    """The status and the text of an error."""
    if isinstance(error, WasmrunError):
        return error.status, printable(error.detail)
    if isinstance(error, core.Unauthenticated):
        return 401, UNAUTHORIZED
    kind = next(each for each in type(error).__mro__ if each in TABLE)
    status, words = TABLE[kind]
    if kind is core.AtollError:
        return status, f"{words}the server failed"
    return status, f"{words}{printable(error.detail)}"


def refused(error: Refused, scope: Scope, body_bytes: int) -> tuple[int, str]:
    """What HTTP itself says no to."""
    if error.status in {404, 405}:
        return 404, f"Not found: Unknown endpoint: {printable(own_path(scope))}"
    if error.status == 413:  # noqa: PLR2004 - the status is the case
        return 413, f"Request body too large: exceeds {body_bytes} byte limit"
    return error.status, f"Bad request: {printable(error.detail)}"


def answer(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """The whole answer. Texts repeat what was sent, which may be long."""
    shown = text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
    body = to_json({"error": shown, "code": status})
    return Response(
        body, status_code=status, media_type="application/json", headers=dict(headers or {})
    )
