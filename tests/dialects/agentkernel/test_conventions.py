"""The envelope, keys, errors, statuses, and what there is not."""

import json
import re
from pathlib import Path

import pytest

from atoll.dialects.agentkernel.absent import GROUPS, OF_SANDBOXES
from tests.dialects.agentkernel.rig import Spoken, speaking_agentkernel

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]


@pytest.mark.parity("health", "envelope")
async def test_health(spoken: Spoken) -> None:
    for headers in ({}, {"authorization": "Basic x"}, {"x-api-key": "wrong"}):
        async with spoken.of(**headers) as client:
            answer = await client.get("/health")
        assert answer.status_code == 200
        assert answer.json() == {"success": True, "data": "ok", "status": "ok"}
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parity("auth", "auth.texts")
async def test_keys(spoken: Spoken, tmp_path: Path) -> None:
    flags = {"loopback_without_key": False, "pool_size": 0, "admin_password_hash": None}
    made = await spoken.native.post("/v1/keys", json={"name": "one"})
    texts = {
        "Missing Authorization header": {},
        "Invalid API key": {"authorization": "Bearer nope"},
        "Invalid authorization format. Use: Bearer <api_key>": {"authorization": "Basic bm8="},
    }
    assert made.status_code == 201, made.text
    key = made.json()["key"]
    for headers in ({"authorization": f"Bearer {key}"}, {"x-api-key": key}, {}):
        async with spoken.of(**headers) as client:
            assert (await client.get("/sandboxes")).status_code == 200
    for wrong in ({"authorization": "Bearer nope"}, {"x-api-key": "nope"}):
        async with spoken.of(**wrong) as client:
            answer = await client.get("/sandboxes")
            assert answer.status_code == 401
            assert answer.json() == {"success": False, "error": "Invalid API key"}
    async with speaking_agentkernel(tmp_path / "closed", settings=flags) as closed:
        for text, headers in texts.items():
            async with closed.of(**headers) as client:
                answer = await client.get("/sandboxes")
                assert (answer.status_code, answer.json()["error"]) == (401, text)
                assert (await client.get("/health")).status_code == 200


@pytest.mark.parity("not-found", "envelope")
async def test_what_is_not_there(spoken: Spoken) -> None:
    for method, path in (
        ("GET", "/nope"),
        ("GET", "/"),
        ("PUT", "/run"),
        ("GET", "/run/"),
        ("POST", "/sandboxes/box/nope"),
    ):
        assert await spoken.ask(method, path, None, 404) == "Not found"


@pytest.mark.parity("bad-json")
async def test_bad_json(spoken: Spoken) -> None:
    for path in ("/run", "/run/stream", "/batch/run", "/sandboxes", "/snapshots"):
        for content in (b"{bad", b"", b"[]", b'{"command": "x", "name": 1}', b"\xff"):
            answer = await spoken.client.post(path, content=content)
            assert answer.status_code == 400, (path, content)
            assert answer.json()["error"].startswith("Invalid JSON: ")


@pytest.mark.parity("too-large")
async def test_large_bodies(spoken: Spoken, tmp_path: Path) -> None:
    _ = spoken
    async with speaking_agentkernel(tmp_path, settings={"max_body_bytes": 2000}) as small:
        body = {"command": ["true", "x" * 2000]}
        said = await small.post("/run", body, 413)
        assert said == "Request body exceeds the maximum size of 2000 bytes"


@pytest.mark.parity("statuses", "create.duplicate", "run.failure")
async def test_statuses_of_the_newest_server(tmp_path: Path) -> None:
    async with speaking_agentkernel(tmp_path, statuses="newest") as newest:
        await newest.post("/sandboxes", {"name": "a"}, 201)
        assert await newest.post("/sandboxes", {"name": "a"}, 409) == "Sandbox 'a' already exists"
        assert "code 3" in await newest.post("/run", {"command": ["sh", "-c", "exit 3"]}, 409)
        assert await newest.ask("PUT", "/sandboxes/b/files/c", {"content": ""}, 404)


@pytest.mark.parametrize("word", sorted(GROUPS))
@pytest.mark.parity(
    "absent.orchestrations", "absent.tasks", "absent.stores", "absent.objects", "absent.schedules",
    "absent.agents", "absent.audit", "absent.secrets", "absent.proxy", "absent.llm", "absent.gc",
    "absent.lifecycle", "absent.images", "absent.benchmark", "absent.sessions",
    "absent.permissions", "absent.policy", "absent.quotas", "absent.scim", "absent.opencode",
)  # fmt: skip
async def test_what_is_not_there_yet(spoken: Spoken, word: str) -> None:
    for method, path in (("GET", f"/{word}"), ("POST", f"/{word}"), ("DELETE", f"/{word}/a/b")):
        said = await spoken.ask(method, path, None, 501)
        assert said == f"{GROUPS[word]} is not supported by this server"


@pytest.mark.parity(
    "absent.sandboxes.resize",
    "absent.sandboxes.recover", "absent.sandboxes.config", "absent.sandboxes.git",
    "absent.sandboxes.browser", "absent.import-config",
)  # fmt: skip
async def test_what_sandboxes_cannot_yet(spoken: Spoken) -> None:
    for word, what in OF_SANDBOXES.items():
        said = await spoken.post(f"/sandboxes/box/{word}", {}, 501)
        assert said == f"{what} is not supported by this server"
    assert "Importing" in await spoken.post("/sandboxes/import-config", {}, 501)


@pytest.mark.parity("envelope")
async def test_its_own_document(spoken: Spoken) -> None:
    found = (await spoken.client.get("/openapi.json")).json()
    assert found["paths"].keys() >= {"/run", "/sandboxes/{name}/exec/detach", "/snapshots"}
    schemas = found["components"]["schemas"]
    wanted = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(found)))
    assert wanted <= schemas.keys()
    assert "HTTPValidationError" not in wanted
    assert schemas["RunIn"]["required"] == ["command"]
