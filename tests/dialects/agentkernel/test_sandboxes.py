"""Sandboxes: made, found, changed, stopped, forked, removed."""

import itertools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
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
    body: dict[str, Any] = {"name": "x", "image": "no-such-image:1"}
    assert "no-such-image:1" in await spoken.post("/sandboxes", body, 400)
    for image in ("host", "python:3.12-alpine", "alpine:3.20"):
        made = await spoken.post("/sandboxes", {"name": "x", "image": image}, 201)
        assert made["image"] == image
        assert await spoken.printed("x", "echo", "on") == "on\n"
        taken = await spoken.post("/snapshots", {"sandbox": "x", "name": "s"}, 201)
        assert taken["base_image"] == image
        assert (await spoken.post("/snapshots/s/restore"))["image"] == image
        for path in ("/snapshots/s", "/sandboxes/x", "/sandboxes/x-restored"):
            await spoken.delete(path)
    # What `client.browser()` begins with.
    body = {"name": "x", "image": "python:3.12-slim", "memory_mb": 2048, "profile": "moderate"}
    assert (await spoken.post("/sandboxes", body, 201))["memory_mb"] == 2048
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
    [("network", {"name": "n"}), ("volumes", ["a:/b"]), ("agent", "a"), ("secrets", ["a=b"]),
     ("secret_files", ["A"]), ("placeholder_secrets", True), ("secret_mappings", {"a": "b"}),
     ("init_script", "x"), ("source_url", "http://x")],
)  # fmt: skip
async def test_what_a_create_may_not_say_yet(spoken: Spoken, field: str, value: object) -> None:
    said = await spoken.post("/sandboxes", {"name": "x", field: value}, 501)
    assert said == f"The field '{field}' is not supported by this server"
    assert await spoken.get("/sandboxes") == []


@pytest.mark.parity("create.ports")
@pytest.mark.needs("python3")
async def test_ports(spoken: Spoken) -> None:
    made = await spoken.post("/sandboxes", {"name": "p", "ports": [8080, "9090", "9091/tcp"]}, 201)
    assert made["ports"] == [8080, 9090, 9091]
    serve = ["python3", "-m", "http.server", "8080"]
    await spoken.post("/sandboxes/p/files", {"files": {"/workspace/a": "served"}})
    await spoken.post("/sandboxes/p/exec/detach", {"command": serve})
    path = made["endpoints"][0]["path"]
    with anyio.fail_after(30):
        while (answer := await spoken.native.get(f"{path}a")).status_code != 200:
            await anyio.sleep(0.05)  # waits on purpose: for the program to listen
    assert answer.text == "served"
    await spoken.delete("/sandboxes/p")
    assert "host" in await spoken.post("/sandboxes", {"name": "p", "ports": ["1:2"]}, 501)
    for wrong in (["x"], [0], [70_000], [""], [-1], ["1" * 30]):
        await spoken.post("/sandboxes", {"name": "p", "ports": wrong}, 400)


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


@pytest.mark.parity("list", "patch.labels")
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


@pytest.mark.parity("create.lifecycle", "patch.lifecycle")
async def test_what_happens_to_one_that_is_not_used(spoken: Spoken) -> None:
    times = {
        "auto_stop_after_seconds": 60,
        "auto_archive_after_seconds": 600,
        "auto_delete_after_seconds": 3600,
    }
    never = dict.fromkeys(times)
    made = await spoken.post("/sandboxes", {"name": "idle", "lifecycle": times}, 201)
    assert made["lifecycle"] == {**never, **times}
    own = (await spoken.native.get("/v1/sandboxes/idle")).json()
    assert (own["idle_timeout_s"], own["auto_archive_s"], own["auto_delete_s"]) == (60, 600, 3600)
    body = {"lifecycle": {"auto_stop_after_seconds": 30}}
    changed = await spoken.ask("PATCH", "/sandboxes/idle", body)
    assert changed["lifecycle"] == {**never, "auto_stop_after_seconds": 30}
    assert (await spoken.ask("PATCH", "/sandboxes/idle", {}))["lifecycle"] == changed["lifecycle"]
    changed = await spoken.ask("PATCH", "/sandboxes/idle", {"lifecycle": None})
    assert changed["lifecycle"] == never
    for wrong, status in (
        ({"auto_stop_after_seconds": 0}, 400), ({"auto_delete_after_seconds": -1}, 400),
        ({"auto_stop_after_seconds": "x"}, 400), ({"auto_archive_after_seconds": 0}, 400),
    ):  # fmt: skip
        await spoken.ask("PATCH", "/sandboxes/idle", {"lifecycle": wrong}, status)
    assert (made["archived_at"], made["archived_reason"]) == (None, None)
    await spoken.ask("PUT", "/sandboxes/idle/files/workspace/kept", {"content": "1"})
    assert (await spoken.native.post("/v1/sandboxes/idle/archive")).json()["state"] == "archived"
    away = await spoken.get("/sandboxes/idle")
    assert (away["status"], away["archived_reason"]) == ("archived", "client")
    assert away["archived_at"].endswith("Z")
    await spoken.post("/sandboxes/idle/start")
    assert (await spoken.get("/sandboxes/idle"))["status"] == "running"
    assert (await spoken.get("/sandboxes/idle/files/workspace/kept"))["content"] == "1"
    await spoken.delete("/sandboxes/idle")


@pytest.mark.parity("create.notes", "patch.labels")
async def test_notes(spoken: Spoken) -> None:
    said = {"description": "d", "created_from_template": "t", "template_help_text": "h"}
    body = {"name": "noted", "labels": {"a": "1"}, **said}
    made = await spoken.post("/sandboxes", body, 201)
    assert made["labels"] == {"a": "1"}
    assert {key: made[key] for key in said} == said
    changed = await spoken.ask("PATCH", "/sandboxes/noted", {"labels": {"b": "2"}})
    assert (changed["labels"], changed["description"]) == ({"b": "2"}, "d")
    changed = await spoken.ask("PATCH", "/sandboxes/noted", {"description": "e"})
    assert (changed["labels"], changed["description"]) == ({"b": "2"}, "e")
    changed = await spoken.ask("PATCH", "/sandboxes/noted", {"description": None})
    assert "description" not in changed
    assert changed["template_help_text"] == "h"
    await spoken.delete("/sandboxes/noted")
    for wrong in ({"labels": {"agentkernel.x": "y"}}, {"description": "x" * 257}):
        await spoken.post("/sandboxes", {"name": "noted", **wrong}, 400)


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


@pytest.mark.parity("pause")
async def test_pause_and_resume(spoken: Spoken, box: str) -> None:
    able = (await spoken.get("/backends"))["backends"][0]["capabilities"]
    if not able["full_state_pause_resume"]:
        await spoken.post(f"/sandboxes/{box}/pause", None, 422)
        return
    for _ in range(2):
        assert await spoken.post(f"/sandboxes/{box}/pause") == "Sandbox paused"
        assert (await spoken.get(f"/sandboxes/{box}"))["status"] == "paused"
    await spoken.post(f"/sandboxes/{box}/exec", {"command": ["true"]}, 400)
    assert await spoken.post(f"/sandboxes/{box}/resume") == "Sandbox resumed"
    assert await spoken.printed(box, "echo", "on") == "on\n"
    await spoken.post(f"/sandboxes/{box}/stop")
    await spoken.post(f"/sandboxes/{box}/pause", None, 409)
    await spoken.post("/sandboxes/nope/resume", None, 404)


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
    await spoken.post(f"/sandboxes/{box}/extend", {"by": "999999999w"}, 400)


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
