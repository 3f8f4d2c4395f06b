"""Which headers cross between a client and a program in a sandbox, and as what.

The program is untrusted and its answers come from this server's own origin. So nothing of the
client's that is meant for this server goes in, and nothing comes out that would act on the origin:
no cookies, no permissions for other sites; and whatever a browser makes of the answer is a document
of no origin (`Content-Security-Policy: sandbox`). What is meant for the program in spite of that
has a prefix on its way, in both directions.
"""

from collections.abc import Iterable
from urllib.parse import unquote

Pairs = list[tuple[bytes, bytes]]

PREFIX = b"x-atoll-guest-"
SANDBOX = (
    b"sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts; "
    b"frame-ancestors 'none'"
)
_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization",
        b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
_OURS = frozenset(
    {
        b"host", b"authorization", b"cookie", b"x-api-key", b"x-request-id", b"expect", b"referer",
        b"forwarded", b"via", b"x-real-ip",
    }
)  # fmt: skip
# What a client may send to the program, and hear from it, only with the prefix.
_WRAPPED_IN = frozenset({b"authorization", b"cookie"})
_WRAPPED_OUT = frozenset({b"set-cookie", b"www-authenticate", b"refresh"})
_OF_THE_ORIGIN = frozenset(
    {
        b"set-cookie2", b"clear-site-data", b"strict-transport-security", b"public-key-pins",
        b"public-key-pins-report-only", b"expect-ct", b"alt-svc", b"service-worker-allowed",
        b"report-to", b"reporting-endpoints", b"nel", b"origin-agent-cluster", b"accept-ch",
        b"date", b"x-request-id", b"x-content-type-options",
    }
)  # fmt: skip
# What makes a client ask again: with its key in hand, it must not be led to somebody else, nor to
# another part of this server. Such an answer keeps it under the prefix.
_LEADING = frozenset({b"location", b"content-location"})
_NAMES = ("localhost", "127.0.0.1", "[::1]")


def _named(pairs: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The headers that `Connection` says are for this hop only."""
    return frozenset(
        word.strip().lower()
        for name, value in pairs
        if name == b"connection"
        for word in value.split(b",")
    )


def inward(pairs: Pairs, *, port: int, prefix: str, scheme: str) -> Pairs:
    """A request's headers as the program gets them. `prefix` is where it is seen from outside."""
    hop = _HOP | _named(pairs)
    host = next((value for name, value in pairs if name == b"host"), b"")
    found: Pairs = [(b"host", b"localhost:%d" % port)]
    for name, value in pairs:
        if name.startswith(PREFIX):
            inner = name.removeprefix(PREFIX)
            if inner in _WRAPPED_IN:
                found.append((inner, value))
        elif name == b"origin":
            found.append((name, _origin(value, host, port)))
        elif not (name in hop or name in _OURS or name.startswith((b"x-forwarded-", b"x-atoll-"))):
            found.append((name, value))
    found += [
        (b"x-forwarded-host", host),
        (b"x-forwarded-proto", scheme.encode()),
        (b"x-forwarded-prefix", prefix.encode()),
    ]
    return found


def _origin(value: bytes, host: bytes, port: int) -> bytes:
    """A page of this server is at home there; others stay what they are."""
    own = value.partition(b"://")[2].lower() == host.lower()
    return b"http://localhost:%d" % port if own else value


def outward(pairs: Iterable[tuple[bytes, bytes]], *, port: int, prefix: str) -> Pairs:
    """An answer's headers as the client gets them."""
    given = [(bytes(name).lower(), bytes(value)) for name, value in pairs]
    hop = _HOP | _named(given)
    found: Pairs = []
    for name, value in given:
        if name in _WRAPPED_OUT:
            found.append((PREFIX + name, value))
        elif name in _LEADING:
            place = _location(value, port, prefix)
            found.append((name, place) if _stays(place, prefix) else (PREFIX + name, value))
        elif not (
            name in hop
            or name in _OF_THE_ORIGIN
            or name.startswith((b"access-control-", b"x-atoll-"))
        ):
            found.append((name, value))
    found += [(b"content-security-policy", SANDBOX), (b"x-atoll-guest", b"%d" % port)]
    return found


def _stays(place: bytes, prefix: str) -> bool:
    """Whether a client that goes there is still at the program."""
    text = unquote(place.decode("latin-1"))
    path = text.partition("?")[0].partition("#")[0]
    if "\\" in text or not text.isprintable() or ".." in path.split("/"):
        return False
    if path.startswith("/"):
        return path.startswith(f"{prefix.rstrip('/')}/")
    return ":" not in path.partition("/")[0]


def _location(value: bytes, port: int, prefix: str) -> bytes:
    """Where the program means itself, its place at this server."""
    text = value.decode("latin-1")
    for name in _NAMES:
        own = f"http://{name}:{port}"
        if text.lower() == own or text.lower().startswith(f"{own}/"):
            text = text[len(own) :] or "/"
            break
    if text.startswith("/") and not text.startswith("//"):
        text = prefix + text
    return text.encode("latin-1")
