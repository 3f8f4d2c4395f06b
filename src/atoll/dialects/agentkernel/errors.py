"""agentkernel's shape of an error, and the table from ours to it."""

import re
from collections.abc import Mapping

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Scope

from atoll.core import errors as core
from atoll.http.dialect import own_path
from atoll.http.errors import Refused, printable

INTERNAL = 500
UNKNOWN_SANDBOX = "Sandbox not found"
# The routes of the document, which says what statuses each of them has.
_DOCUMENTED = re.compile(r"/(run|batch/run|sandboxes(/[^/]+(/exec|/logs|/files/.+)?)?)")


class AgentKernelError(core.AtollError):
    """An error in agentkernel's own words; `more` are members beside `error`."""

    def __init__(self, status: int, text: str, more: Mapping[str, object] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.more = dict(more or {})


class BadRequest(AgentKernelError):
    """400."""

    def __init__(self, text: str) -> None:
        super().__init__(400, text)


class NotYet(AgentKernelError):
    """501: agentkernel has it, this server does not."""

    def __init__(self, what: str) -> None:
        super().__init__(501, f"{what} is not supported by this server")


class NameTaken(core.Conflict):
    """Another living sandbox has that name."""


class CommandFailed(core.AtollError):
    """A command ended with another status than 0; an answer, in agentkernel's eyes an error."""

    def __init__(self, text: str, exit_code: int, output: str) -> None:
        super().__init__(text)
        self.more = {"exit_code": exit_code, "output": output}


NEWEST: Mapping[type[core.AtollError], int] = {
    core.AtollError: 500,
    core.InvalidRequest: 400,
    core.Unauthenticated: 401,
    core.Forbidden: 403,
    core.NotFound: 404,
    core.Gone: 404,
    core.Conflict: 409,
    core.TooLarge: 413,
    core.QuotaExceeded: 429,
    core.Busy: 503,
    core.Unsupported: 422,
    core.Unavailable: 422,
    core.BackendFault: 500,
    CommandFailed: 409,
}
# On the routes of the document there is nothing else than 400, 401, 404 and 500.
DOCUMENTED: Mapping[type[core.AtollError], int] = {
    **NEWEST,
    core.Conflict: 400,
    NameTaken: 500,
    core.TooLarge: 400,
    core.QuotaExceeded: 400,
    core.Unsupported: 400,
    core.Unavailable: 500,
    CommandFailed: 500,
}


def status_of(error: core.AtollError, scope: Scope, statuses: str) -> int:
    """The status of an error as the answer to a request."""
    if isinstance(error, AgentKernelError):
        return error.status
    old = statuses == "documented" and _DOCUMENTED.fullmatch(own_path(scope)) is not None
    table = DOCUMENTED if old else NEWEST
    found = next(table[kind] for kind in type(error).__mro__ if kind in table)
    if old and found == 404 and scope["method"] in {"PUT", "DELETE"} and _is_file(scope):  # noqa: PLR2004
        return 400
    return found


def text_of(error: core.AtollError) -> str:
    """What it says."""
    if type(error) is core.AtollError:
        return "Internal error"
    if isinstance(error, core.NotFound | core.Gone):
        kind = error.kind if isinstance(error, core.NotFound) else "sandbox"
        return UNKNOWN_SANDBOX if kind == "sandbox" else printable(error.detail)
    return printable(error.detail)


def unauthorized(scope: Scope) -> str:
    """Which of the three texts of 401 it is."""
    head = dict(scope["headers"])
    given = head.get(b"authorization", b"").decode("latin-1")
    if b"x-api-key" in head or given[:7].lower() == "bearer ":
        return "Invalid API key"
    if given:
        return "Invalid authorization format. Use: Bearer <api_key>"
    return "Missing Authorization header"


def refused(error: Refused, body_bytes: int) -> tuple[int, str]:
    """What HTTP itself says no to."""
    if error.status in {404, 405}:
        return 404, "Not found"
    if error.status == 413:  # noqa: PLR2004 - the status is the case
        return 413, f"Request body exceeds the maximum size of {body_bytes} bytes"
    return error.status, printable(error.detail)


def answer(
    status: int,
    text: str,
    more: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The whole answer."""
    body = to_json({"success": False, "error": text, **(more or {})})
    return Response(
        body, status_code=status, media_type="application/json", headers=dict(headers or {})
    )


def _is_file(scope: Scope) -> bool:
    return "/files/" in own_path(scope)
