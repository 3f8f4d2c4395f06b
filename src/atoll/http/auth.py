"""Who asks: a key, the admin's session, or somebody on this machine.

Somebody on this machine needs no key, so a web page must not be able to borrow that trust: the
`Host` must be a name of the loopback (against DNS rebinding), a browser must say that its page is
of this very server, and whatever a proxy has forwarded does not count as local.
"""

import ipaddress
import re
from collections.abc import Mapping

from starlette.requests import HTTPConnection
from starlette.types import Scope

from atoll.core.errors import Forbidden, Unauthenticated
from atoll.http.session import COOKIE, Sessions
from atoll.service.caller import Caller
from atoll.service.keys import Keys
from atoll.settings import Settings

CALLER = "atoll.caller"
_ASKED = frozenset(
    {b"x-api-key", b"authorization", b"cookie", b"host", b"origin", b"sec-fetch-site"}
)
_FORWARDED = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+?)\.?(:\d{1,5})?", re.IGNORECASE)


class Authenticator:
    """Turns a request's head into a `Caller`, for the native API and the dialects."""

    def __init__(self, *, keys: Keys, sessions: Sessions, settings: Settings) -> None:
        self._keys = keys
        self._sessions = sessions
        self._keyless = settings.loopback_without_key
        self._insecure = settings.insecure
        self._hosts = frozenset(host.lower() for host in settings.allowed_hosts)
        self._origins = frozenset(origin.lower() for origin in settings.allowed_origins)

    async def caller(self, scope: Scope) -> Caller:
        """Raises `Unauthenticated`, or `Forbidden` for a page of another site."""
        head = _head(scope)
        key = _key(head)
        if key is not None:
            return await self._keys.authenticate(key)
        if COOKIE in head.get(b"cookie", ""):
            cookie = HTTPConnection(scope).cookies.get(COOKIE)
            if cookie is not None:
                self._refuse_other_sites(head)
                self._sessions.check(cookie)
                return self._keys.administrator()
        return self._local(scope, head)

    def _local(self, scope: Scope, head: Mapping[bytes, str]) -> Caller:
        """Somebody on this machine."""
        if self._insecure:
            self._refuse_other_sites(head)
            return self._keys.anonymous()
        if not self._keyless or not is_loopback(scope) or b"forwarded" in head:
            raise Unauthenticated("Send an API key as X-API-Key or as Authorization: Bearer.")
        host = _host(head.get(b"host", ""))
        if not (is_loopback_name(host) or host in self._hosts):
            raise Unauthenticated(
                f"Without an API key the Host must be the loopback's, not {host[:100]!r}."
            )
        self._refuse_other_sites(head)
        return self._keys.anonymous()

    def _refuse_other_sites(self, head: Mapping[bytes, str]) -> None:
        origin = head.get(b"origin", "").lower()
        if origin:
            host = head.get(b"host", "").lower()
            if origin in self._origins or origin.partition("://")[2] == host:
                return
        elif head.get(b"sec-fetch-site", "none") in {"none", "same-origin"}:
            return
        raise Forbidden("Pages of other sites may not use this server without an API key.")


def _head(scope: Scope) -> Mapping[bytes, str]:
    """The headers that matter here; `forwarded` stands for all that proxies add."""
    head: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in _ASKED:
            if name in head and name != b"cookie":
                raise Unauthenticated(f"The header {name.decode()} is there twice.")
            head[name] = value.decode("latin-1")
        elif name in _FORWARDED:
            head[b"forwarded"] = ""
    return head


def _key(head: Mapping[bytes, str]) -> str | None:
    """The key that was sent. A credential that cannot be one is refused, not passed over."""
    key = head.get(b"x-api-key")
    if key is not None:
        return key.strip()
    authorization = head.get(b"authorization")
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("Authorization must be: Bearer KEY.")
    return token.strip()


def is_loopback(scope: Scope) -> bool:
    """Whether the peer's address is of this machine's loopback."""
    client = scope.get("client")
    return client is not None and is_loopback_name(client[0])


def is_loopback_name(host: str) -> bool:
    """Whether a name or address (no brackets, no port) can only mean this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _host(value: str) -> str:
    """The name in a `Host` header, without brackets and port; empty when it is none."""
    match = _HOST.fullmatch(value)
    return match[1].strip("[]").lower() if match else ""
