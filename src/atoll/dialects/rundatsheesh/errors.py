"""run-dat-sheesh's shape of an error, and the table from ours to it."""

from collections.abc import Mapping

from pydantic_core import to_json
from starlette.responses import Response

from atoll.core import errors as core
from atoll.http.errors import Refused, printable

INTERNAL = 500
UNAUTHORIZED = "Unauthorized"
_TOO_LARGE = 413
_NO_ROUTE = frozenset({404, 405})

STATUS: Mapping[type[core.AtollError], int] = {
    core.AtollError: INTERNAL,
    core.InvalidRequest: 400,
    core.Unauthenticated: 401,
    core.Forbidden: 403,
    core.NotFound: 404,
    core.Gone: 404,
    core.Conflict: 409,
    core.PreconditionFailed: 409,
    core.TooLarge: _TOO_LARGE,
    core.QuotaExceeded: 429,
    core.Busy: 429,
    core.Unsupported: 400,
    core.Unavailable: 503,
    core.BackendFault: INTERNAL,
}


class SheeshError(core.AtollError):
    """An error in run-dat-sheesh's own words."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def bad(text: str) -> SheeshError:
    """400."""
    return SheeshError(400, text)


def unauthorized() -> SheeshError:
    """401."""
    return SheeshError(401, UNAUTHORIZED)


def guest_refused(call: str, text: str, status: int = 400) -> SheeshError:
    """What run-dat-sheesh leaves to the program in the VM to refuse."""
    body = to_json({"error": printable(text)}).decode()
    return SheeshError(status, f"Agent request failed ({call}) status={status}: {body}")


def told(error: core.AtollError | None, request_id: str) -> Response:
    """An error as the answer to a request."""
    if error is None or type(error) is core.AtollError:
        return answer(INTERNAL, "Internal Server Error", request_id)
    if isinstance(error, SheeshError):
        return answer(error.status, error.detail)
    if isinstance(error, Refused):
        close = {"connection": "close"} if error.close else {}
        return answer(error.status, _refused(error), headers=close)
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    if status == INTERNAL:
        return answer(status, "Internal Server Error", request_id)
    text = UNAUTHORIZED if isinstance(error, core.Unauthenticated) else error.detail
    headers = (
        {"retry-after": str(round(error.retry_after_s))} if isinstance(error, core.Busy) else {}
    )
    return answer(status, text, headers=headers)


def answer(
    status: int,
    text: str,
    request_id: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The whole answer."""
    more = {} if request_id is None else {"requestId": request_id}
    return Response(
        to_json({"message": printable(text), **more}),
        status_code=status,
        media_type="application/json",
        headers=dict(headers or {}),
    )


def _refused(error: Refused) -> str:
    if error.status in _NO_ROUTE:
        error.status = 404
        return "Not Found"
    return "Body too large" if error.status == _TOO_LARGE else error.detail
