"""Who asks. Made once per request by the front end, passed down to every use case."""

from dataclasses import dataclass

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated party of a request.

    `tenant` owns what is made; `actor` is who the audit log names (a key's name, `admin`,
    `anonymous`). `key_id` is None for callers without an API key.
    """

    tenant: str
    actor: str
    admin: bool
    key_id: str | None
    max_sandboxes: int
    max_concurrent: int
