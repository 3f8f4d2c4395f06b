"""The one tree of exceptions the client raises.

    AtollError
    ├── Unreachable            no answer: nothing listens there, or the connection broke
    └── Problem                the server's problem document (RFC 9457)
        ├── InvalidRequest     the input is wrong; `field` says which part
        ├── Unauthenticated    no key, or not a known one
        ├── Forbidden          the key may not do that
        ├── NotFound           nothing of that name is visible to you
        ├── Gone               it has ended; its post-mortem says why
        ├── Conflict           its state forbids this now, or the name is taken
        │   └── PreconditionFailed   somebody else changed it first
        ├── TooLarge           over a stated bound
        ├── QuotaExceeded      the tenant has used all of something
        ├── Busy               full at the moment (retried)
        ├── Unsupported        no backend there can do that
        ├── Unavailable        the host lacks something; the detail says what
        └── BackendFault       the server's own failure (retried)

A program that fails inside a sandbox is a value (`Result`), never one of these.
"""

import json
from collections.abc import Mapping
from typing import ClassVar, cast


class AtollError(Exception):
    """Base of the tree. `detail` is a full sentence; `retryable` says whether to try again."""

    def __init__(self, detail: str, *, retryable: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retryable = retryable


class Unreachable(AtollError):
    """No whole answer came. `sent` is False when the request surely never left."""

    def __init__(self, detail: str, *, sent: bool) -> None:
        super().__init__(detail, retryable=True)
        self.sent = sent


class Problem(AtollError):
    """The server said no. `code` is stable and made for programs."""

    expected_code: ClassVar[str] = ""

    def __init__(
        self,
        detail: str,
        *,
        code: str,
        status: int,
        retryable: bool = False,
        field: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail, retryable=retryable)
        self.code = code
        self.status = status
        self.field = field
        self.retry_after_s = retry_after_s


class InvalidRequest(Problem):
    """The input is wrong."""

    expected_code = "invalid_request"


class Unauthenticated(Problem):
    """No key, or not a known one."""

    expected_code = "unauthenticated"


class Forbidden(Problem):
    """The key may not do that."""

    expected_code = "forbidden"


class NotFound(Problem):
    """Nothing of that name is visible to you."""

    expected_code = "not_found"


class Gone(Problem):
    """It existed and has ended."""

    expected_code = "gone"


class Conflict(Problem):
    """Its state forbids this now, or its name is taken."""

    expected_code = "conflict"


class PreconditionFailed(Conflict):
    """Somebody else changed it first."""

    expected_code = "precondition_failed"


class TooLarge(Problem):
    """Over a stated bound."""

    expected_code = "too_large"


class QuotaExceeded(Problem):
    """The tenant has used all it may use of something."""

    expected_code = "quota_exceeded"


class Busy(Problem):
    """Full at the moment; `retry_after_s` is the server's guess."""

    expected_code = "busy"


class Unsupported(Problem):
    """No backend there can do that."""

    expected_code = "unsupported"


class Unavailable(Problem):
    """The host lacks something."""

    expected_code = "unavailable"


class BackendFault(Problem):
    """The server's own failure."""

    expected_code = "backend_fault"


_BY_CODE: Mapping[str, type[Problem]] = {
    kind.expected_code: kind
    for kind in (
        InvalidRequest,
        Unauthenticated,
        Forbidden,
        NotFound,
        Gone,
        Conflict,
        PreconditionFailed,
        TooLarge,
        QuotaExceeded,
        Busy,
        Unsupported,
        Unavailable,
        BackendFault,
    )
}
# What a proxy in between answers without a document of ours.
_PASSING = frozenset({429, 502, 503, 504})
_LONGEST_DETAIL = 500


def problem_from(status: int, headers: Mapping[str, str], body: bytes) -> Problem:
    """Read an answer that is not a success; any body will do, also one that is not ours."""
    document = _document(body)
    code = document.get("code")
    retry_after = headers.get("retry-after")
    return _build(
        status=status,
        code=code if isinstance(code, str) else f"http_{status}",
        document=document,
        fallback=body[:_LONGEST_DETAIL].decode("utf-8", "replace").strip(),
        retry_after_s=_seconds(retry_after),
    )


def problem_in(document: Mapping[str, object]) -> Problem:
    """Read a problem document that came inside of an answer: a batch item, a stream's event."""
    status = document.get("status")
    code = document.get("code")
    return _build(
        status=status if isinstance(status, int) else 500,
        code=code if isinstance(code, str) else "internal",
        document=document,
        fallback="",
        retry_after_s=None,
    )


def _build(
    *,
    status: int,
    code: str,
    document: Mapping[str, object],
    fallback: str,
    retry_after_s: float | None,
) -> Problem:
    detail = document.get("detail") or document.get("title") or fallback
    field = document.get("field")
    retryable = document.get("retryable")
    return _BY_CODE.get(code, Problem)(
        str(detail or f"The server answered {status}."),
        code=code,
        status=status,
        retryable=retryable if isinstance(retryable, bool) else status in _PASSING,
        field=field if isinstance(field, str) else None,
        retry_after_s=retry_after_s,
    )


def _document(body: bytes) -> Mapping[str, object]:
    try:
        parsed: object = json.loads(body)
    except ValueError:
        return {}
    return cast("Mapping[str, object]", parsed) if isinstance(parsed, dict) else {}


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
