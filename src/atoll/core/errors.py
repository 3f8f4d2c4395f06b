"""The one tree of exceptions for failures that are ours or the caller's, never the guest's.

    AtollError
    ├── InvalidRequest      the request is wrong: names the field and what would be right
    ├── Unauthenticated     no key, or a wrong one
    ├── Forbidden           a good key that may not do this
    ├── NotFound            nothing of that name, or not yours
    ├── Gone                it was there and has ended; the post-mortem says why
    ├── Conflict            the thing is in a state that forbids this, or the name is taken
    │   └── PreconditionFailed   an If-Match did not hold
    ├── TooLarge            the request or a file is over a stated bound
    ├── QuotaExceeded       the tenant has used what it may use
    ├── Busy                full just now; says when to come back        (retryable)
    ├── Unsupported         no backend here can do that
    ├── NotListening        no program in the sandbox answers at that port  (retryable)
    ├── Unavailable         a facility of the host is missing: says which and what to install
    └── BackendFault        our own failure in a sandbox; says which      (retryable)

A guest's failure is a value (`core.model.Exit`), never one of these. HTTP statuses live in
`http/errors.py` and in each dialect's own table.
"""

from typing import ClassVar


class AtollError(Exception):
    """Base of the tree. `code` is stable and public; `detail` is a full sentence for a person."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class InvalidRequest(AtollError):
    """The caller's input is wrong. `field` is a dotted path into the request, or None."""

    code = "invalid_request"

    def __init__(self, detail: str, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.field = field


class Unauthenticated(AtollError):
    """No credential, or one that is not known."""

    code = "unauthenticated"


class Forbidden(AtollError):
    """The credential is good, the act is not allowed to it."""

    code = "forbidden"


class NotFound(AtollError):
    """Nothing of that kind and name is visible to this tenant."""

    code = "not_found"

    def __init__(self, kind: str, name: str, detail: str | None = None) -> None:
        super().__init__(detail or f"There is no {kind} {name!r}.")
        self.kind = kind
        self.name = name


class Gone(AtollError):
    """It existed and has ended; ask for its post-mortem."""

    code = "gone"


class Conflict(AtollError):
    """The state of the thing forbids this now, or its name is taken."""

    code = "conflict"


class PreconditionFailed(Conflict):
    """An `If-Match` or compare-and-set did not hold: somebody else changed it first."""

    code = "precondition_failed"


class TooLarge(AtollError):
    """Over a stated bound. `limit` is that bound in bytes (or items, as the detail says)."""

    code = "too_large"

    def __init__(self, detail: str, *, limit: int | None = None, field: str | None = None) -> None:
        super().__init__(detail)
        self.limit = limit
        self.field = field


class QuotaExceeded(AtollError):
    """The tenant has used all it may use of something."""

    code = "quota_exceeded"


class Busy(AtollError):
    """Full at the moment. `retry_after_s` is an honest guess."""

    code = "busy"
    retryable = True

    def __init__(self, detail: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class Unsupported(AtollError):
    """No backend here can do that, or this backend cannot."""

    code = "unsupported"


class NotListening(AtollError):
    """No program in the sandbox takes connections at that port: not yet, or not any more."""

    code = "not_listening"
    retryable = True


class Unavailable(AtollError):
    """The host lacks something; the detail says what, and how to get it."""

    code = "unavailable"


class BackendFault(AtollError):
    """Our own failure. Says which sandbox; what was acknowledged is not lost."""

    code = "backend_fault"
    retryable = True

    def __init__(self, detail: str, *, sandbox_id: str | None = None) -> None:
        super().__init__(detail)
        self.sandbox_id = sandbox_id
