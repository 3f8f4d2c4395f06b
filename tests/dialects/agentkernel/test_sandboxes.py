"""Sandboxes: made, found, changed, stopped, forked, removed."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.dialects.agentkernel.rig import Spoken

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]


@pytest.mark.parity("create", "get", "list", "delete")
async def test_a_life(spoken: Spoken) -> None:
    made = await spoken.post("/sandboxes", {"name": "life"}, 201)
    assert made["name"] == "life"
    assert made["status"] == "running"
    assert made["backend"] == "namespace"
    assert (made["vcpus"], made["memory_mb"]) == (1, 512)
    assert made["placeholder_secrets"] is False
    assert datetime.fromisoformat(made["created_at"]).tzinfo == UTC
    found = await spoken.get("/sandboxes/life")
    assert found["uuid"] == made["uuid"]
    assert [each["name"] for each in await spoken.get("/sandboxes")] == ["life"]
    assert await spoken.delete("/sandboxes/life") == "Sandbox removed"
    assert await spoken.delete("/sandboxes/life", 404) == "Sandbox not found"
    assert await spoken.get("/sandboxes/life", 404) == "Sandbox not found"
    assert await spoken.get("/sandboxes") == []


@pytest.mark.parity("get", "list", "delete")
async def test_one_of_the_native_api_without_such_a_name(spoken: Spoken) -> None:
    for name in (None, "dots.in.it"):
        made = (await spoken.native.post("/v1/sandboxes", json={"name": name})).json()
        assert [each["name"] for each in await spoken.get("/sandboxes")] == [made["id"]]
        assert (await spoken.get(f"/sandboxes/{made['id']}"))["name"] == made["id"]
        await spoken.delete(f"/sandboxes/{made['id']}")
        assert await spoken.get(f"/sandboxes/{made['id']}", 404) == "Sandbox not found"


@pytest.mark.parity("create.names")
@pytest.mark.parametrize(
    "name", ["", "-a", "a-", "_a", "a--b", "a_-b", "a.b", "a/b", "ä", "a b", "x" * 64, "a\n"]
)
async def test_bad_names(spoken: Spoken, name: str) -> None:
    said = await spoken.post("/sandboxes", {"name": name}, 400)
    assert said.startswith("Invalid sandbox name")


@pytest.mark.parity("create.names")
@pytest.mark.parametrize(
    ("method", "rest"),
    [("GET", ""), ("DELETE", ""), ("PATCH", ""), ("POST", "/exec"), ("POST", "/stop"),
     ("POST", "/start"), ("GET", "/files/a"), ("PUT", "/files/a"), ("DELETE", "/files/a"),
     ("POST", "/files"), ("POST", "/exec/detach"), ("GET", "/exec/detached"),
     ("POST", "/extend"), ("POST", "/fork")],
)  # fmt: skip
async def test_names_are_checked_everywhere(spoken: Spoken, method: str, rest: str) -> None:
    said = await spoken.ask(method, f"/sandboxes/.bad{rest}", {"command": ["true"]}, 400)
    assert said.startswith("Invalid sandbox name")


@pytest.mark.parity("create.duplicate")
async def test_a_name_that_is_taken(spoken: Spoken, box: str) -> None:
    assert await spoken.post("/sandboxes", {"name": box}, 500) == "Sandbox 'box' already exists"
    assert len(await spoken.get("/sandboxes")) == 1


@pytest.mark.parity("create.limits", "create.labels", "create.profile")
async def test_what_a_create_may_say(spoken: Spoken) -> None:
    body: dict[str, Any] = {
        "name": "said", "vcpus": 2, "memory_mb": 256, "profile": "RESTRICTIVE",
        "labels": {"team": "a"}, "ports": [], "secrets": None, "placeholder_secrets": False,
        "no-such-field": 1,
    }  # fmt: skip
    made = await spoken.post("/sandboxes", body, 201)
    assert (made["vcpus"], made["memory_mb"]) == (2, 256)
    assert made["profile"] == "restrictive"
    assert made["labels"] == {"team": "a"}
    await spoken.delete("/sandboxes/said")
    said = await spoken.post("/sandboxes", {"name": "x", "profile": "x"}, 400)
    assert said == "Invalid profile 'x'. Use: permissive, moderate, restrictive"
    assert "vcpus" in await spoken.post("/sandboxes", {"name": "x", "vcpus": 0}, 400)
    assert "at most" in await spoken.post("/sandboxes", {"name": "x", "vcpus": 1000}, 400)
    assert await spoken.get("/sandboxes") == []


@pytest.mark.parity("create.image", "sdk.browser")
async def test_images(spoken: Spoken) -> None:
    body = {"name": "x", "image": "no-such-image:1"}
    assert "no-such-image:1" in await spoken.post("/sandboxes", body, 400)
    made = await spoken.post("/sandboxes", {"name": "x", "image": "host"}, 201)
    assert made["image"] == "host"
    await spoken.delete("/sandboxes/x")


@pytest.mark.parity("create.backend")
async def test_backends_of_sandboxes(spoken: Spoken) -> None:
    assert "'nope'" in await spoken.post("/sandboxes", {"name": "x", "backend": "nope"}, 400)
    made = await spoken.post("/sandboxes", {"name": "x", "backend": "namespace"}, 201)
    assert made["backend"] == "namespace"
    await spoken.delete("/sandboxes/x")


@pytest.mark.parity("create.absent")
@pytest.mark.parametrize(
    ("field", "value"),
    [("lifecycle", {"auto_stop_after_seconds": 1}), ("description", "d"), ("ports", [80]),
     ("network", {"name": "n"}), ("volumes", ["a:/b"]), ("agent", "a"), ("secrets", ["a=b"]),
     ("secret_files", ["A"]), ("placeholder_secrets", True), ("secret_mappings", {"a": "b"}),
     ("init_script", "x"), ("created_from_template", "t"), ("template_help_text", "h"),
     ("source_url", "http://x")],
)  # fmt: skip
async def test_what_a_create_may_not_say_yet(spoken: Spoken, field: str, value: object) -> None:
    said = await spoken.post("/sandboxes", {"name": "x", field: value}, 501)
    assert said == f"The field '{field}' is not supported by this server"
    assert await spoken.get("/sandboxes") == []


@pytest.mark.parity("create.absent")
async def test_a_source_ref_alone(spoken: Spoken) -> None:
    assert "source_url" in await spoken.post("/sandboxes", {"name": "x", "source_ref": "a"}, 400)


@pytest.mark.parity("by-uuid")
async def test_by_uuid(spoken: Spoken, box: str) -> None:
    wanted = (await spoken.get(f"/sandboxes/{box}"))["uuid"]
    assert uuid.UUID(wanted).version == 7
    for form in (wanted, wanted.upper(), wanted.replace("-", "")):
        assert (await spoken.get(f"/sandboxes/by-uuid/{form}"))["name"] == box
    assert await spoken.get("/sandboxes/by-uuid/nope", 400) == "Invalid sandbox UUID"
    for other in (
        uuid.UUID(int=0),
        uuid.UUID(int=2**128 - 1),
        uuid.UUID(int=uuid.UUID(wanted).int ^ 1),
    ):
        assert await spoken.get(f"/sandboxes/by-uuid/{other}", 404) == "Sandbox not found"


@pytest.mark.parity("list", "patch.labels", "patch.more")
async def test_labels(spoken: Spoken, box: str) -> None:
    body = {"labels": {"a": "1", "b": "x:y"}}
    assert (await spoken.ask("PATCH", f"/sandboxes/{box}", body))["labels"] == body["labels"]
    assert (await spoken.ask("PATCH", f"/sandboxes/{box}", {}))["labels"] == body["labels"]
    for query, count in (
        ("label=a:1", 1), ("label=a:1&label=b:x:y", 1), ("label=a:1&label=b:z", 0),
        ("label=c:", 0),
    ):  # fmt: skip
        assert len(await spoken.get(f"/sandboxes?{query}")) == count
    assert "key:value" in await spoken.get("/sandboxes?label=a", 400)
    for more in ({"description": "d"}, {"lifecycle": {"auto_stop_after_seconds": 60}}):
        await spoken.ask("PATCH", f"/sandboxes/{box}", more, 501)


@pytest.mark.parity("start-stop")
async def test_start_and_stop(spoken: Spoken, box: str) -> None:
    await spoken.printed(box, "sh", "-c", "echo kept > a")
    for _ in range(2):
        assert await spoken.post(f"/sandboxes/{box}/stop") == "Sandbox stopped"
        assert (await spoken.get(f"/sandboxes/{box}"))["status"] == "stopped"
    assert await spoken.post(f"/sandboxes/{box}/start") == "Sandbox started"
    assert (await spoken.get(f"/sandboxes/{box}"))["status"] == "running"
    await spoken.post(f"/sandboxes/{box}/stop")
    assert await spoken.printed(box, "cat", "a") == "kept\n"
    for verb in ("start", "stop"):
        assert await spoken.post(f"/sandboxes/nope/{verb}", None, 404) == "Sandbox not found"


@pytest.mark.parity("extend")
async def test_extend(spoken: Spoken, box: str) -> None:
    ends: list[datetime] = []
    for by in ("1h", "30m", "90s", "1d"):
        found = await spoken.post(f"/sandboxes/{box}/extend", {"by": by})
        ends.append(datetime.fromisoformat(found["expires_at"]))
    steps = [late - early for early, late in itertools.pairwise(ends)]
    for step, wanted in zip(steps, (1800, 90, 86_400), strict=True):
        assert abs(step - timedelta(seconds=wanted)) < timedelta(seconds=1)
    for by in ("", "x", "1y", "-1h", "0h", "1h2", "9" * 30):
        said = await spoken.post(f"/sandboxes/{box}/extend", {"by": by}, 400)
        assert said.startswith("Invalid time format: ")


@pytest.mark.parity("fork")
async def test_fork(spoken: Spoken, box: str) -> None:
    await spoken.printed(box, "sh", "-c", "echo kept > a")
    made = await spoken.post(f"/sandboxes/{box}/fork", {"as_name": "twin"}, 201)
    assert made["sandbox"]["name"] == "twin"
    assert made["security_warning"]
    await spoken.printed(box, "rm", "a")
    assert await spoken.printed("twin", "cat", "a") == "kept\n"
    await spoken.post(f"/sandboxes/{box}/fork", {"as_name": "twin"}, 409)
    await spoken.delete("/sandboxes/twin")
