"""What crosses between a client and a guest's server, and what does not."""

import pytest
from starlette.types import Scope

from atoll.http.errors import Refused
from atoll.http.ports.headers import SANDBOX, Pairs, inward, outward
from atoll.http.ports.place import place_of

PREFIX = "/v1/sandboxes/box/ports/8080"


def into(*pairs: tuple[str, str]) -> dict[str, str]:
    given: Pairs = [(name.lower().encode(), value.encode()) for name, value in pairs]
    found = inward(given, port=8080, prefix=PREFIX, scheme="http")
    return {name.decode(): value.decode() for name, value in found}


def out(*pairs: tuple[str, str]) -> dict[str, str]:
    given = [(name.encode(), value.encode()) for name, value in pairs]
    return {n.decode(): v.decode() for n, v in outward(given, port=8080, prefix=PREFIX)}


def test_credentials_of_the_server_stay_outside() -> None:
    found = into(
        ("Host", "atoll.example"),
        ("Authorization", "Bearer atoll_key"),
        ("X-API-Key", "atoll_key"),
        ("Cookie", "atoll_session=secret; other=1"),
        ("Referer", "http://atoll.example/console"),
        ("Proxy-Authorization", "Basic x"),
        ("X-Forwarded-For", "10.1.2.3"),
        ("X-Atoll-Anything", "1"),
        ("Accept", "text/html"),
    )
    assert found == {
        "host": "localhost:8080",
        "accept": "text/html",
        "x-forwarded-host": "atoll.example",
        "x-forwarded-proto": "http",
        "x-forwarded-prefix": PREFIX,
    }


def test_credentials_for_the_guest_go_in_when_they_are_meant() -> None:
    found = into(
        ("Authorization", "Bearer atoll_key"),
        ("X-Atoll-Guest-Authorization", "Basic guest"),
        ("X-Atoll-Guest-Cookie", "session=guest"),
        ("X-Atoll-Guest-Host", "elsewhere"),
        ("X-Atoll-Guest-Transfer-Encoding", "chunked"),
    )
    assert (found["authorization"], found["cookie"]) == ("Basic guest", "session=guest")
    assert found["host"] == "localhost:8080"
    assert "transfer-encoding" not in found


def test_hop_by_hop_headers_end_here() -> None:
    pairs = [
        ("Connection", "close, X-Private"), ("X-Private", "1"), ("Keep-Alive", "1"), ("TE", "gzip"),
        ("Trailer", "x"), ("Upgrade", "h2c"), ("Transfer-Encoding", "chunked"), ("X-Kept", "1"),
    ]  # fmt: skip
    dropped = {name.lower() for name, _ in pairs[:-1]}
    assert dropped & (into(*pairs).keys() | out(*pairs).keys()) == set()
    assert into(*pairs)["x-kept"] == out(*pairs)["x-kept"] == "1"


@pytest.mark.parametrize(
    ("origin", "seen"),
    [
        ("http://atoll.example", "http://localhost:8080"),
        ("https://evil.example", "https://evil.example"),
        ("null", "null"),
        ("http://[", None),
    ],
)
def test_a_page_of_this_server_is_at_home_in_the_guest(origin: str, seen: str | None) -> None:
    found = into(("Host", "atoll.example"), ("Origin", origin))
    assert found["origin"] == (origin if seen is None else seen)


def test_an_answer_has_no_power_over_the_origin() -> None:
    found = out(
        ("Set-Cookie", "atoll_session=forged; Path=/"),
        ("Clear-Site-Data", '"*"'),
        ("Strict-Transport-Security", "max-age=1"),
        ("Service-Worker-Allowed", "/"),
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Alt-Svc", 'h3=":1"'),
        ("WWW-Authenticate", "Basic"),
        ("X-Atoll-Guest", "443"),
        ("X-Request-Id", "req_forged"),
        ("Content-Type", "text/html"),
    )
    assert found == {
        "x-atoll-guest-set-cookie": "atoll_session=forged; Path=/",
        "x-atoll-guest-www-authenticate": "Basic",
        "content-type": "text/html",
        "content-security-policy": SANDBOX.decode(),
        "x-atoll-guest": "8080",
    }
    assert "allow-same-origin" not in found["content-security-policy"]


def test_the_guests_own_policy_stays_beside_ours() -> None:
    given = [(b"Content-Security-Policy", b"default-src 'none'")]
    policies = [v for n, v in outward(given, port=1, prefix="") if n == b"content-security-policy"]
    assert policies == [b"default-src 'none'", SANDBOX]


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("/login?x=1", f"{PREFIX}/login?x=1"),
        ("http://localhost:8080/a", f"{PREFIX}/a"),
        ("http://127.0.0.1:8080", f"{PREFIX}/"),
        ("HTTP://LOCALHOST:8080/A", f"{PREFIX}/A"),
        ("relative", "relative"),
        ("relative/page?next=../a", "relative/page?next=../a"),
        ("?page=2", "?page=2"),
    ],
)
def test_redirects_lead_to_the_guest(given: str, seen: str) -> None:
    assert out(("Location", given))["location"] == seen


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize(
    "given",
    [
        "//elsewhere.example/x", "http://localhost:80801/a", "https://elsewhere.example/",
        "/../../../../v1/sandboxes/other", "../../other", "/%2e%2e/%2E%2E/v1/keys", "a/%2e%2e/..",
        "/\\elsewhere.example", "\\\\elsewhere.example", "javascript:alert(1)", "/a\tb",
        "data:text/html,x",
    ],
)  # fmt: skip
def test_redirects_lead_nowhere_else(name: str, given: str) -> None:
    """A client that follows has its key in its hand; who means to follow finds it in the prefix."""
    found = out((name, given))
    assert name.lower() not in found
    assert found[f"x-atoll-guest-{name.lower()}"] == given
    assert "refresh" not in out(("Refresh", f"0; url={given}"))


def scope(raw: str, *, sandbox: str = "box", port: str = "8080", query: str = "") -> Scope:
    return {
        "path": "",
        "raw_path": raw.encode(),
        "query_string": query.encode(),
        "path_params": {"sandbox": sandbox, "port": port},
    }


@pytest.mark.parametrize(
    ("raw", "query", "target"),
    [
        (PREFIX, "", b"/"),
        (f"{PREFIX}/", "a=%20b", b"/?a=%20b"),
        (f"{PREFIX}/a%2Fb/../c//d", "", b"/a%2Fb/../c//d"),
        (f"{PREFIX}//x", "", b"//x"),
        ("/v1/sandb%6Fxes/box/ports/8080/x", "", b"/x"),
    ],
)
def test_the_rest_of_the_path_is_passed_on_as_it_is(raw: str, query: str, target: bytes) -> None:
    found = place_of(scope(raw, query=query))
    assert (found.target, found.prefix) == (target, PREFIX)


@pytest.mark.parametrize(
    "given",
    [
        scope("/v1%2Fsandboxes/box/ports/8080/x"),
        scope("/v1/sandboxes/box/ports%2F8080/x"),
        scope(PREFIX, port="0"),
        scope(PREFIX, port="65536"),
        scope(PREFIX, port="08080"),
        scope(PREFIX, port="\u0661"),
        scope(PREFIX, sandbox="a/b"),
    ],
)
def test_what_is_no_place(given: Scope) -> None:
    with pytest.raises(Refused):
        place_of(given)
