"""Keys, errors, limits, pages."""

from pathlib import Path

import httpx
import pytest

from atoll.dialects.rundatsheesh.names import vm_id
from tests.dialects.run_dat_sheesh.rig import KEY, VM, Spoken, speaking_sheesh

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "python3")]

LISTS = ("/v1/vms", "/v1/snapshots", "/v1/images", "/v1/admin/overview", "/v1/admin/activity")
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parity("auth.key")
@pytest.mark.parametrize("path", LISTS)
async def test_a_key_is_asked_for(spoken: Spoken, path: str) -> None:
    for headers in ({}, {"x-api-key": "wrong"}, {"x-api-key": f"{KEY}x"}):
        async with spoken.of(**headers) as client:
            answer = await client.get(path)
            assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized"})
    await spoken.get(path)


@pytest.mark.parity("auth.order")
async def test_bodies_are_looked_at_before_keys(spoken: Spoken) -> None:
    async with spoken.of() as client:
        answer = await client.post(f"/v1/vms/{NOBODY}/exec", json={})
        assert answer.status_code == 400
        answer = await client.post(f"/v1/vms/{NOBODY}/exec", json={"cmd": "x"})
        assert answer.status_code == 401


@pytest.mark.parity("auth.session")
async def test_login(spoken: Spoken) -> None:
    async with spoken.of() as client:
        for email, password in (("admin@example.com", "x"), ("x@example.com", "correct horse")):
            answer = await client.post("/auth/login", json={"email": email, "password": password})
            assert answer.status_code == 401
            assert answer.json() == {"message": "Invalid credentials"}
        assert (await client.get("/auth/me")).status_code == 401
    async with spoken.admin() as client:
        assert (await client.get("/auth/me")).json() == {"email": "admin@example.com"}
        assert (await client.get("/v1/vms")).status_code == 200
        answer = await client.post("/auth/logout")
        assert answer.json() == {"ok": True}
        assert (await client.get("/auth/me")).status_code == 401


@pytest.mark.parity("auth.session")
async def test_the_cookie(spoken: Spoken) -> None:
    async with spoken.of() as client:
        words = {"email": "admin@example.com", "password": "correct horse"}
        answer = await client.post("/auth/login", json=words)
        cookie = answer.headers["set-cookie"].lower()
        for part in ("rds_session=", "httponly", "samesite=lax", "path=/"):
            assert part in cookie


@pytest.mark.parity("auth.native")
async def test_without_a_key_of_its_own_the_servers_count(tmp_path: Path) -> None:
    async with speaking_sheesh(tmp_path, api_key=None) as spoken, spoken.of() as client:
        assert (await client.get("/v1/vms")).status_code == 200  # this machine needs none
        made = await spoken.native.post("/v1/keys", json={"name": "k"})
        key = made.json()["key"]
        answer = await client.get("/v1/vms", headers={"x-api-key": key})
        assert answer.status_code == 200
        answer = await client.get("/v1/vms", headers={"x-api-key": f"{key}x"})
        assert answer.status_code == 401


@pytest.mark.parity("errors.validation")
@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "body must have required property 'cpu'"),
        ({"cpu": "x", "memMb": 1, "allowIps": []}, "body/cpu must be number"),
        ({"cpu": 1, "memMb": 256, "allowIps": "x"}, "body/allowIps must be array"),
        ({"cpu": 1, "memMb": 256, "allowIps": [{}]}, "body/allowIps/0 must be string"),
        ([], "body must be object"),
    ],
)
async def test_schema_errors(spoken: Spoken, body: object, text: str) -> None:
    assert await spoken.post("/v1/vms", body, 400) == text


@pytest.mark.parity("errors.validation")
async def test_what_is_no_json(spoken: Spoken) -> None:
    for content in (b"{", b"\xff", b"[" * 100_000, b'{"cmd": NaN}'):
        answer = await spoken.client.post(f"/v1/vms/{NOBODY}/exec", content=content)
        assert answer.status_code == 400, answer.text
        assert list(answer.json()) == ["message"]


@pytest.mark.parity("coercion")
async def test_numbers_may_be_text_and_strange_fields_are_dropped(spoken: Spoken) -> None:
    made = await spoken.post("/v1/vms", {**VM, "cpu": "1", "memMb": "256", "color": "red"}, 201)
    assert (made["cpu"], made["memMb"]) == (1, 256)
    await spoken.ask("DELETE", f"/v1/vms/{made['id']}", status=204)


@pytest.mark.parity("not-found")
async def test_unknown_routes(spoken: Spoken) -> None:
    assert await spoken.get("/v1/nothing", 404) == "Not Found"
    assert await spoken.ask("PUT", "/v1/vms", {}, 404) == "Not Found"


@pytest.mark.parity("not-found")
async def test_unknown_vms(spoken: Spoken) -> None:
    for wanted in ("undefined", "null"):
        assert await spoken.get(f"/v1/vms/{wanted}", 400) == "Invalid VM id"
    for wanted in (NOBODY, "vm-abc123", "sb_06h14jl0fcgp8k04ep6cml8afg", "..%2f"):
        assert await spoken.get(f"/v1/vms/{wanted}", 404) in {"VM not found", "Not Found"}
    text = await spoken.post(f"/v1/vms/{NOBODY}/exec", {"cmd": "true"}, 404)
    assert text == f"VM {NOBODY} not found"
    assert await spoken.ask("DELETE", f"/v1/vms/{NOBODY}", status=404) == text
    native = (await spoken.native.post("/v1/sandboxes", json={})).json()["id"]
    assert vm_id(native) not in [each["id"] for each in await spoken.get("/v1/vms")]
    assert await spoken.get(f"/v1/vms/{vm_id(native)}", 404) == "VM not found"
    await spoken.native.delete(f"/v1/sandboxes/{native}")


@pytest.mark.parity("body-limits")
async def test_bodies_have_bounds(spoken: Spoken) -> None:
    large = {**VM, "x": "y" * (64 * 1024)}
    assert await spoken.post("/v1/vms", large, 413) == "Body too large"
    command = {"cmd": "true", "x": "y" * (1024 * 1024)}
    assert await spoken.post(f"/v1/vms/{NOBODY}/exec", command, 413) == "Body too large"
    words = {"email": "x" * (16 * 1024), "password": ""}
    assert await spoken.post("/auth/login", words, 413) == "Body too large"


@pytest.mark.parity("rates")
async def test_requests_are_counted_by_the_minute(tmp_path: Path) -> None:
    async with speaking_sheesh(tmp_path, rate_limits=True) as spoken:
        seen = [(await spoken.client.get("/v1/images")).status_code for _ in range(121)]
        assert seen == [200] * 120 + [429]
        answer = await spoken.client.get("/v1/images")
        assert "Rate limit exceeded" in answer.json()["message"]
        assert int(answer.headers["retry-after"]) <= 60
        seen = [(await _exec(spoken)).status_code for _ in range(301)]
        assert seen == [404] * 300 + [429]


async def _exec(spoken: Spoken) -> httpx.Response:
    return await spoken.client.post(f"/v1/vms/{NOBODY}/exec", json={"cmd": "x"})


@pytest.mark.parity("openapi")
@pytest.mark.parametrize("path", ["/openapi.json", "/swagger/json", "/swagger/openapi.json"])
async def test_the_document(spoken: Spoken, path: str) -> None:
    async with spoken.of() as client:
        found = (await client.get(path)).json()
    assert len(found["paths"]) >= 25
    schema = found["paths"]["/v1/vms"]["post"]["requestBody"]["content"]["application/json"]
    assert schema["schema"]["required"] == ["cpu", "memMb", "allowIps"]


@pytest.mark.parity("pages")
@pytest.mark.parametrize("path", ["/", "/docs", "/swagger", "/docs/assets/swagger-ui.css"])
async def test_pages(spoken: Spoken, path: str) -> None:
    async with spoken.of() as client:
        answer = await client.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].split(";")[0] in {"text/html", "text/css"}
