from typing import Any

import pytest

from atoll.backends.fake import FakeBackend
from atoll.backends.fake.backend import CAPABILITIES
from tests.http.rig import Web, served

pytestmark = pytest.mark.anyio


async def _make(web: Web, **fields: object) -> dict[str, Any]:
    answer = await web.client.post("/v1/sandboxes", json=fields)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_life(web: Web) -> None:
    made = await _make(web, name="notes", labels={"team": "blue"}, env={"A": "1"})
    assert (made["name"], made["state"], made["labels"]) == ("notes", "running", {"team": "blue"})
    assert made["profile"] == "moderate"
    assert made["idle_timeout_s"] == web.settings.default_idle_timeout_s
    by_name = (await web.client.get("/v1/sandboxes/notes")).json()
    by_id = (await web.client.get(f"/v1/sandboxes/{made['id']}")).json()
    assert by_name["id"] == by_id["id"] == made["id"]
    stopped = await web.client.post("/v1/sandboxes/notes/stop")
    assert stopped.json()["state"] == "stopped"
    started = await web.client.post("/v1/sandboxes/notes/start")
    assert started.json()["state"] == "running"
    gone = await web.client.delete("/v1/sandboxes/notes")
    assert gone.json()["state"] == "destroyed"
    assert (await web.client.get("/v1/sandboxes/notes")).status_code == 404
    after = await web.client.get(f"/v1/sandboxes/{made['id']}")
    assert after.json()["state"] == "destroyed"
    why = await web.client.get(f"/v1/sandboxes/{made['id']}/post-mortem")
    assert why.json()["ended_by"] == "client"
    use = await web.client.post(f"/v1/sandboxes/{made['id']}/exec", json={"argv": ["true"]})
    assert (use.status_code, use.json()["code"]) == (410, "gone")


async def test_a_secret_is_in_no_answer(web: Web) -> None:
    made = await _make(web, name="box", secrets={"TOKEN": "hunter2-correct"})
    assert made["secrets"] == ["TOKEN"]
    own = {"command": "echo $TOKEN $OWN", "secrets": {"OWN": "own-secret"}}
    ran = (await web.client.post("/v1/sandboxes/box/exec", json=own)).json()
    assert ran["stdout"] == "hunter2-correct own-secret\n"
    once = {"command": "echo $TOKEN", "secrets": {"TOKEN": "hunter2-correct"}}
    assert (await web.client.post("/v1/run", json=once)).json()["stdout"] == "hunter2-correct\n"
    await web.services.audit.flush()
    for path in ("sandboxes", "sandboxes/box", "sandboxes/box/processes", "events"):
        told = (await web.client.get(f"/v1/{path}")).text
        assert "hunter2-correct" not in told
        assert "own-secret" not in told
    for odd in ("/etc/x", "/run/secrets/", "/run/secrets/..", "/run/secrets/a/b", "A B"):
        answer = await web.client.post("/v1/sandboxes", json={"secrets": {odd: "x"}})
        assert answer.status_code == 422
    for wrong in ({"TOKEN": ["hunter2-correct"]}, {"TOKEN": "hunter2-correct\0"}):
        for path in ("sandboxes", "sandboxes/box/exec", "run"):
            answer = await web.client.post(f"/v1/{path}", json={"argv": ["true"], "secrets": wrong})
            assert answer.status_code == 422
            assert "hunter2-correct" not in answer.text
    files = {"secrets": {"/run/secrets/key": "hunter2-correct"}}
    for method, path in (("POST", "sandboxes"), ("PATCH", "sandboxes/box"), ("POST", "run")):
        more = {"argv": ["true"]} if path == "run" else {}
        refused = await web.client.request(method, f"/v1/{path}", json={**files, **more})
        assert (refused.status_code, refused.json()["code"]) == (422, "unsupported")
    changed = await web.client.patch("/v1/sandboxes/box", json={"secrets": None})
    assert changed.json()["secrets"] == []


async def test_a_body_is_optional(web: Web) -> None:
    assert (await web.client.post("/v1/sandboxes")).status_code == 201


async def test_null_and_absent_timeouts_differ(web: Web) -> None:
    made = await _make(web, idle_timeout_s=None, lifetime_s=None, auto_delete_s=60)
    assert made["auto_delete_s"] == 60
    assert (made["idle_timeout_s"], made["expires_at"]) == (None, None)


async def test_limits_are_laid_over_the_profile(web: Web) -> None:
    made = await _make(web, profile="restrictive", limits={"processes": 7})
    limits = made["limits"]
    assert isinstance(limits, dict)
    assert (limits["processes"], limits["memory_bytes"]) == (7, 256 * 1024**2)


async def test_names_are_unique_and_checked(web: Web) -> None:
    await _make(web, name="a")
    assert (await web.client.post("/v1/sandboxes", json={"name": "a"})).status_code == 409
    for bad in ("A", "", "-a", "a" * 64, "a/b"):
        answer = await web.client.post("/v1/sandboxes", json={"name": bad})
        assert (answer.status_code, answer.json()["field"]) == (422, "name")


async def test_idempotency_key(web: Web) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await web.client.post("/v1/sandboxes", json={"name": "a"}, headers=key)
    again = await web.client.post("/v1/sandboxes", json={"name": "a"}, headers=key)
    assert first.json()["id"] == again.json()["id"]
    other = await web.client.post("/v1/sandboxes", json={"name": "b"}, headers=key)
    assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")


@pytest.mark.parametrize("what", ["fork", "snapshots"])
async def test_copies_take_a_key_too(web: Web, what: str) -> None:
    path = f"/v1/sandboxes/{(await _make(web))['id']}/{what}"
    key = {"Idempotency-Key": "k1"}
    first = await web.client.post(path, json={"name": "a"}, headers=key)
    again = await web.client.post(path, json={"name": "a"}, headers=key)
    assert (first.status_code, first.json()["id"]) == (201, again.json()["id"])
    other = await web.client.post(path, json={"name": "b"}, headers=key)
    assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")


async def test_pages_labels_and_states(web: Web) -> None:
    ids = [(await _make(web, labels={"n": str(n % 2)}))["id"] for n in range(5)]
    await web.client.post(f"/v1/sandboxes/{ids[0]}/stop")
    seen, cursor = [], None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await web.client.get("/v1/sandboxes", params=query)).json()
        seen += [each["id"] for each in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids
    ones = (await web.client.get("/v1/sandboxes?label=n=1")).json()["items"]
    assert [each["id"] for each in ones] == [ids[1], ids[3]]
    stopped = (await web.client.get("/v1/sandboxes?state=stopped")).json()["items"]
    assert [each["id"] for each in stopped] == [ids[0]]
    for wrong in ("label=x", "state=odd", "limit=0", "limit=x", "cursor=%00"):
        answer = await web.client.get(f"/v1/sandboxes?{wrong}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), wrong


async def test_change_with_a_version(web: Web) -> None:
    await _make(web, name="a")
    etag = (await web.client.get("/v1/sandboxes/a")).headers["etag"]
    change = {"labels": {"x": "1"}, "lifetime_s": 60}
    first = await web.client.patch("/v1/sandboxes/a", json=change, headers={"If-Match": etag})
    assert first.status_code == 200
    assert first.json()["labels"] == {"x": "1"}
    assert first.json()["expires_at"] is not None
    late = await web.client.patch("/v1/sandboxes/a", json=change, headers={"If-Match": etag})
    assert (late.status_code, late.json()["code"]) == (412, "precondition_failed")
    bad = await web.client.patch("/v1/sandboxes/a", json=change, headers={"If-Match": "W/x"})
    assert bad.status_code == 422
    freed = await web.client.patch("/v1/sandboxes/a", json={"lifetime_s": None, "name": None})
    assert (freed.json()["expires_at"], freed.json()["name"]) == (None, None)


async def test_fork_and_snapshots(web: Web) -> None:
    made = await _make(web, name="a")
    await web.client.put("/v1/sandboxes/a/files/x", content=b"1")
    copy = await web.client.post("/v1/sandboxes/a/fork", json={"name": "b"})
    assert copy.status_code == 201, copy.text
    assert (await web.client.get("/v1/sandboxes/b/files/x")).content == b"1"
    taken = await web.client.post("/v1/sandboxes/a/snapshots", json={"name": "s"})
    assert taken.status_code == 201, taken.text
    assert taken.json()["sandbox_id"] == made["id"]
    assert (await web.client.get("/v1/snapshots/s")).json()["id"] == taken.json()["id"]
    assert len((await web.client.get("/v1/snapshots")).json()["items"]) == 1
    await _make(web, name="c", base="s")
    assert (await web.client.get("/v1/sandboxes/c/files/x")).content == b"1"
    assert (await web.client.delete("/v1/snapshots/s")).status_code == 204
    assert (await web.client.get("/v1/snapshots/s")).status_code == 404


async def test_tenants_do_not_see_each_other(web: Web) -> None:
    await _make(web, name="mine")
    key = await web.key(tenant="blue")
    async with web.client_from(headers={"x-api-key": key}) as other:
        for call in (
            other.get("/v1/sandboxes/mine"),
            other.delete("/v1/sandboxes/mine"),
            other.get("/v1/sandboxes/mine/files/x"),
            other.post("/v1/sandboxes/mine/exec", json={"argv": ["true"]}),
            other.get("/v1/sandboxes/mine/processes/1/output"),
            other.get("/v1/sandboxes/mine/events"),
        ):
            answer = await call
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
        assert (await other.get("/v1/sandboxes")).json()["items"] == []


async def test_quota(web: Web) -> None:
    key = await web.key(tenant="blue", max_sandboxes=1)
    async with web.client_from(headers={"x-api-key": key}) as other:
        assert (await other.post("/v1/sandboxes")).status_code == 201
        answer = await other.post("/v1/sandboxes")
        assert (answer.status_code, answer.json()["code"]) == (403, "quota_exceeded")


async def test_a_profile_is_recorded_and_goes_with_snapshots_and_forks(web: Web) -> None:
    made = await _make(web, name="box", profile="restrictive", limits={"processes": 7})
    assert (made["read_only_root"], made["network"]["mode"]) == (True, "none")
    fork = (await web.client.post("/v1/sandboxes/box/fork")).json()
    taken = (await web.client.post("/v1/sandboxes/box/snapshots", json={"name": "s"})).json()
    assert (taken["profile"], taken["limits"]) == ("restrictive", made["limits"])
    begun = await _make(web, base="s", limits={"processes": 8})
    for each, processes in ((fork, 7), (begun, 8)):
        assert (each["profile"], each["read_only_root"]) == ("restrictive", True)
        assert each["limits"] == {**made["limits"], "processes": processes}
    other = await _make(web, base="s", profile="moderate")
    assert (other["profile"], other["read_only_root"]) == ("moderate", False)


async def test_a_wish_for_a_network_gets_none_where_there_is_none() -> None:
    allowed: dict[str, Any] = {"network_modes": ("none", "internet")}
    async with served(**allowed) as web:
        made = await _make(web, profile="permissive")
        assert made["network"]["mode"] == "none", "the fake backend has no network"
        run = await web.client.post("/v1/run", json={"argv": ["true"], "profile": "permissive"})
        assert run.json()["exit_code"] == 0
        asked = await web.client.post("/v1/sandboxes", json={"network": {"mode": "internet"}})
        assert asked.status_code == 422, "who asks for it himself is refused"
    able = FakeBackend(capabilities={*CAPABILITIES, "network"})
    async with served(able, **allowed) as web:
        assert (await _make(web, profile="permissive"))["network"]["mode"] == "internet"
        assert (await _make(web, profile="restrictive"))["network"]["mode"] == "none"
    async with served(able) as web:
        assert (await _make(web, profile="permissive"))["network"]["mode"] == "none"
