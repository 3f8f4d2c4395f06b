from typing import Any

import pytest
from argon2 import PasswordHasher

from atoll.http.auth import is_loopback_name
from tests.http.rig import ELSEWHERE, LOOPBACK, Web, served

pytestmark = pytest.mark.anyio
PATH = "/v1/sandboxes"
PASSWORD = "correct horse"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


async def _status(web: Web, peer: tuple[str, int], headers: Any) -> int:
    async with web.client_from(peer, headers=headers) as client:
        answer = await client.get(PATH)
        if answer.status_code != 200:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["code"] in {"unauthenticated", "forbidden"}
        return answer.status_code


async def test_keys_open_the_door(web: Web) -> None:
    key = await web.key()
    assert key.startswith("atoll_")
    for headers in ({"x-api-key": key}, {"authorization": f"Bearer {key}"}):
        assert await _status(web, ELSEWHERE, headers) == 200
        assert await _status(web, LOOPBACK, headers) == 200


async def test_no_key_is_for_the_loopback_only(web: Web) -> None:
    assert await _status(web, LOOPBACK, {}) == 200
    assert await _status(web, ("::1", 1), {}) == 200
    assert await _status(web, ("::ffff:127.0.0.1", 1), {}) == 200
    assert await _status(web, ELSEWHERE, {}) == 401
    async with web.client_from() as client:
        assert "bearer" in (await client.get(PATH)).headers["www-authenticate"].lower()


async def test_a_wrong_key_is_refused_on_the_loopback_too(web: Web) -> None:
    key = await web.key()
    for headers in (
        {"x-api-key": "atoll_wrong"},
        {"x-api-key": ""},
        {"x-api-key": key[:-1]},
        {"authorization": "Bearer "},
        {"authorization": f"Basic {key}"},
        {"authorization": "Bearer nonsense"},
        {"x-api-key": b"atoll_\xe4"},
    ):
        assert await _status(web, LOOPBACK, headers) == 401, headers


async def test_the_host_must_be_the_loopback(web: Web) -> None:
    """Against DNS rebinding: the page's own name points at 127.0.0.1."""
    for good in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "127.1.2.3"):
        assert await _status(web, LOOPBACK, {"host": good}) == 200, good
    for bad in (
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "",
        "a b",
    ):
        assert await _status(web, LOOPBACK, {"host": bad}) == 401, bad
    key = await web.key()
    assert await _status(web, LOOPBACK, {"host": "evil.example", "x-api-key": key}) == 200


async def test_pages_of_other_sites_are_refused(web: Web) -> None:
    for bad in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        assert await _status(web, LOOPBACK, bad) == 403, bad
    for good in (
        {"origin": "http://localhost"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ):
        assert await _status(web, LOOPBACK, good) == 200, good


async def test_what_a_proxy_forwards_is_not_local(web: Web) -> None:
    for name in ("x-forwarded-for", "forwarded", "via", "x-real-ip"):
        assert await _status(web, LOOPBACK, {name: "127.0.0.1"}) == 401


async def test_the_operator_may_allow_more_and_less() -> None:
    async with served(allowed_hosts=["box.lan"], allowed_origins=["https://ui.example"]) as web:
        assert await _status(web, LOOPBACK, {"host": "box.lan:8000"}) == 200
        assert await _status(web, LOOPBACK, {"origin": "https://ui.example"}) == 200
    async with served(loopback_without_key=False) as web:
        assert await _status(web, LOOPBACK, {}) == 401
    async with served(insecure=True) as web:
        assert await _status(web, ELSEWHERE, {"host": "anything"}) == 200
        assert await _status(web, ELSEWHERE, {"origin": "https://evil.example"}) == 403


async def test_doubled_credentials_are_refused(web: Web) -> None:
    key = await web.key()
    async with web.client_from() as client:
        answer = await client.get(PATH, headers=[("x-api-key", key), ("x-api-key", "other")])
    assert answer.status_code == 401


async def test_keys_are_listed_and_revoked(web: Web) -> None:
    key = await web.key(name="ci", tenant="blue", max_concurrent=3, expires_in_s=60)
    listed = (await web.client.get("/v1/keys")).json()["items"]
    assert [(each["name"], each["tenant"], each["max_concurrent"]) for each in listed] == [
        ("ci", "blue", 3)
    ]
    assert key not in (await web.client.get("/v1/keys")).text
    async with web.client_from(headers={"x-api-key": key}) as client:
        assert (await client.get("/v1/keys")).status_code == 403
        assert (await client.post("/v1/keys", json={"name": "x"})).status_code == 403
        assert (await client.get("/metrics")).status_code == 403
        assert (await web.client.delete(f"/v1/keys/{listed[0]['id']}")).status_code == 204
        assert (await client.get(PATH)).status_code == 401
    assert (await web.client.delete("/v1/keys/key_none")).status_code == 404


async def test_login_and_logout() -> None:
    async with served(admin_password_hash=HASH) as web, web.client_from() as client:
        wrong = await client.post("/auth/login", json={"password": "wrong"})
        assert wrong.status_code == 401
        good = await client.post("/auth/login", json={"password": PASSWORD})
        assert good.status_code == 200, good.text
        cookie = good.headers["set-cookie"]
        for word in ("HttpOnly", "SameSite=strict", "Path=/"):
            assert word in cookie
        assert "Secure" not in cookie
        assert (await client.get("/v1/keys")).status_code == 200
        crossed = await client.get(PATH, headers={"origin": "https://evil.example"})
        assert crossed.status_code == 403
        value = client.cookies["atoll_session"]
        assert (await client.post("/auth/logout")).status_code == 204
        client.cookies.set("atoll_session", value)
        assert (await client.get("/v1/keys")).status_code == 401
        client.cookies.set("atoll_session", value[:-2] + "xx")
        assert (await client.get("/v1/keys")).status_code == 401


async def test_the_cookie_is_secure_over_tls() -> None:
    async with (
        served(admin_password_hash=HASH) as web,
        web.client_from(base_url="https://atoll.example") as client,
    ):
        good = await client.post("/auth/login", json={"password": PASSWORD})
        assert "Secure" in good.headers["set-cookie"]


async def test_no_password_no_login(web: Web) -> None:
    answer = await web.client.post("/auth/login", json={"password": "x"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "hush" not in (await web.client.post("/auth/login", json={"password": ["hush"]})).text


async def test_public_paths(web: Web) -> None:
    async with web.client_from() as client:
        for path in (
            "/healthz",
            "/readyz",
            "/docs",
            "/openapi.json",
            "/docs/assets/swagger-ui.css",
        ):
            assert (await client.get(path)).status_code == 200, path
        for path in ("/metrics", "/v1/languages", "/nothing", "/docsx"):
            assert (await client.get(path)).status_code == 401, path


def test_loopback_names() -> None:
    for good in ("localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
        assert is_loopback_name(good)
    for bad in ("", "localhost.evil", "0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1", "1"):
        assert not is_loopback_name(bad)
