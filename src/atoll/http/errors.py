"""From the tree of exceptions to RFC 9457 problem details: the only place that knows statuses.

Other things an HTTP server says no to (405, 415, 431…) are `Refused`, with a code of their own.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from atoll.core import errors as core

MEDIA_TYPE = "application/problem+json"

STATUS: Mapping[type[core.AtollError], int] = {
    core.AtollError: 500,
    core.InvalidRequest: 422,
    core.Unauthenticated: 401,
    core.Forbidden: 403,
    core.NotFound: 404,
    core.Gone: 410,
    core.Conflict: 409,
    core.PreconditionFailed: 412,
    core.TooLarge: 413,
    core.QuotaExceeded: 403,
    core.Busy: 429,
    core.Unsupported: 422,
    core.NotListening: 502,
    core.Unavailable: 424,
    core.BackendFault: 500,
}

TITLES: Mapping[str, str] = {
    "internal": "The server failed",
    "invalid_request": "The request is not valid",
    "unauthenticated": "Who are you?",
    "forbidden": "Not allowed",
    "not_found": "Not found",
    "gone": "It has ended",
    "conflict": "Its state forbids this",
    "precondition_failed": "It has changed meanwhile",
    "too_large": "Too large",
    "quota_exceeded": "The quota is used up",
    "busy": "Busy at the moment",
    "unsupported": "Not supported here",
    "not_listening": "Nothing listens there",
    "bad_gateway": "The program did not answer properly",
    "gateway_timeout": "The program did not answer in time",
    "unavailable": "The host lacks something",
    "backend_fault": "The sandbox failed",
    "method_not_allowed": "No such method here",
    "not_acceptable": "No such representation",
    "request_timeout": "The request came too slowly",
    "unsupported_media_type": "No such media type here",
    "range_not_satisfiable": "The range is outside of the file",
    "headers_too_large": "Too many or too large headers",
    "bad_request": "Not a proper request",
}

_REFUSALS: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    408: "request_timeout",
    411: "bad_request",
    413: "too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
    422: "invalid_request",
    431: "headers_too_large",
    502: "bad_gateway",
    504: "gateway_timeout",
}


class Refused(core.AtollError):
    """HTTP itself was not right. `close` ends the connection, since its body is not read on."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        self.close = close


class Invalid(core.InvalidRequest):
    """Several fields are wrong at once; `errors` are pairs of field and sentence."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        first_field, first = errors[0]
        where = f"{first_field}: " if first_field else ""
        more = f" There are {len(errors) - 1} more errors." if len(errors) > 1 else ""
        super().__init__(f"{where}{first}{more}", field=first_field or None)
        self.errors = tuple(errors)


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem document, with the headers that go with it."""

    status: int
    code: str
    detail: str
    retryable: bool = False
    field: str | None = None
    errors: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])

    def body(self, request_id: str) -> dict[str, Any]:
        """The members of the JSON document."""
        members: dict[str, Any] = {
            "type": f"urn:atoll:problem:{self.code}",
            "title": TITLES.get(self.code, HTTPStatus(self.status).phrase),
            "status": self.status,
            "detail": self.detail,
            "instance": f"urn:atoll:request:{request_id}",
            "code": self.code,
            "retryable": self.retryable,
        }
        if self.field is not None:
            members["field"] = self.field
        if self.errors:
            members["errors"] = [{"field": f, "detail": d} for f, d in self.errors]
        return members

    def response(self, request_id: str) -> Response:
        """The whole answer."""
        return Response(
            to_json(self.body(request_id)),
            status_code=self.status,
            media_type=MEDIA_TYPE,
            headers=dict(self.headers),
        )


def status_of(kind: type[core.AtollError]) -> int:
    """The status of a class of the tree: its own, else its nearest ancestor's."""
    return next(STATUS[k] for k in kind.__mro__ if k in STATUS)


def problem_of(error: core.AtollError) -> Problem:
    """Translate. Details of our own unnamed failures stay in the log."""
    if isinstance(error, Refused):
        closing = {"connection": "close"} if error.close else {}
        return refusal(error.status, error.detail, {**error.headers, **closing})
    headers: dict[str, str] = {}
    if isinstance(error, core.Busy):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, core.Unauthenticated):
        headers["www-authenticate"] = 'Bearer realm="atoll"'
    code = type(error).code
    return Problem(
        status=status_of(type(error)),
        code=code,
        detail=INTERNAL_DETAIL if code == "internal" else printable(error.detail),
        retryable=type(error).retryable,
        field=error.field if isinstance(error, core.InvalidRequest | core.TooLarge) else None,
        errors=error.errors if isinstance(error, Invalid) else (),
        headers=headers,
    )


def refusal(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Problem:
    """A problem for a status that HTTP machinery chose."""
    code = _REFUSALS.get(status, "internal" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "")
    return Problem(
        status=status,
        code=code or "bad_request",
        detail=printable(detail),
        retryable=status == HTTPStatus.REQUEST_TIMEOUT,
        headers=headers or {},
    )


INTERNAL_DETAIL = "The server failed; its log has the reason under this instance."
INTERNAL = Problem(status=500, code="internal", detail=INTERNAL_DETAIL)


def printable(text: str) -> str:
    """Text that JSON can carry: what was not UTF-8 in a file's name becomes U+FFFD."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
