import pytest

from atoll.backends.fake import FakeBackend
from tests.http.rig import Web, events_of, served

pytestmark = pytest.mark.anyio


async def test_languages(web: Web) -> None:
    items = (await web.client.get("/v1/languages")).json()["items"]
    bash = next(each for each in items if each["name"] == "bash")
    assert (bash["available"], bash["hint"], bash["extension"]) == (True, None, ".bash")
    assert all(each["available"] or each["hint"] for each in items)


async def test_backends_and_profiles(web: Web) -> None:
    [backend] = (await web.client.get("/v1/backends")).json()["items"]
    assert (backend["name"], backend["isolation"]) == ("fake", "shared_kernel")
    profiles = (await web.client.get("/v1/profiles")).json()["items"]
    assert [each["name"] for each in profiles if each["default"]] == ["moderate"]
    moderate = next(each for each in profiles if each["default"])
    assert (moderate["network"]["mode"], moderate["network_in_force"]["mode"]) == (
        "internet",
        "none",
    )


async def test_an_operators_own_profiles() -> None:
    table = {"base": "restrictive", "cpus": 0.25, "min_isolation": "interposed"}
    async with served(profiles={"tiny": table}) as web:
        tiny = (await web.client.get("/v1/profiles")).json()["items"][-1]
        assert (tiny["name"], tiny["limits"]["cpus"]) == ("tiny", 0.25)
        refused = await web.client.post("/v1/run", json={"argv": ["true"], "profile": "tiny"})
        assert refused.status_code == 422, "never weakened"
        refused = await web.client.post("/v1/sandboxes", json={"profile": "tiny"})
        assert refused.status_code == 422
        unknown = await web.client.post("/v1/sandboxes", json={"profile": "odd"})
        assert "moderate, permissive, restrictive, tiny" in unknown.json()["detail"]


async def test_tools(web: Web) -> None:
    plain = (await web.client.get("/v1/tools")).json()["items"]
    openai = (await web.client.get("/v1/tools?format=openai")).json()
    anthropic = (await web.client.get("/v1/tools?format=anthropic")).json()
    assert openai[0]["function"]["name"] == anthropic[0]["name"] == plain[0]["name"]
    assert (await web.client.get("/v1/tools?format=odd")).status_code == 422
    described = (await web.client.get("/openapi.json")).json()["paths"]
    for tool in plain:
        assert tool["method"].lower() in described[tool["path"]], "every tool is a real call"


async def test_probes() -> None:
    async with served() as web:
        assert (await web.client.get("/healthz")).json() == {"status": "ok"}
        assert (await web.client.get("/readyz")).json()["status"] == "ok"
    async with served(FakeBackend(why_not="no")) as web:
        answer = await web.client.get("/readyz")
        assert (answer.status_code, answer.json()["checks"]["backends"]) == (503, "none is usable")


async def test_metrics_count_routes_not_paths(web: Web) -> None:
    for name in ("a", "b"):
        await web.client.get(f"/v1/sandboxes/{name}")
    await web.client.post("/v1/run", json={"argv": ["true"]})
    text = (await web.client.get("/metrics")).text
    route = 'method="GET",route="/v1/sandboxes/{sandbox}",status="404"'
    assert f"atoll_http_requests_total{{{route}}} 2.0" in text
    assert 'atoll_executions_total{reason="exited"} 1.0' in text
    assert "atoll_pool_max_running" in text


async def test_events(web: Web) -> None:
    made = (await web.client.post("/v1/sandboxes", json={"name": "box"})).json()
    await web.client.post("/v1/sandboxes", json={"name": "other"})
    await web.services.audit.flush()
    page = (await web.client.get("/v1/events?limit=1")).json()
    assert len(page["items"]) == 1
    rest = (await web.client.get(f"/v1/events?cursor={page['next_cursor']}")).json()
    assert rest["items"][0]["seq"] > page["items"][0]["seq"]
    mine = (await web.client.get("/v1/sandboxes/box/events")).json()["items"]
    assert {each["sandbox_id"] for each in mine} == {made["id"]}
    assert (await web.client.get("/v1/sandboxes/none/events")).status_code == 404


async def test_events_by_what_they_are_about(web: Web) -> None:
    made = (await web.client.post("/v1/sandboxes", json={"name": "box"})).json()
    await web.client.post("/v1/run", json={"argv": ["true"]})
    await web.client.delete("/v1/sandboxes/box")
    await web.services.audit.flush()

    async def found(query: str) -> list[str]:
        answer = await web.client.get(f"/v1/events?{query}")
        assert answer.status_code == 200, answer.text
        return [each["action"] for each in answer.json()["items"]]

    assert await found("action=sandbox.*") == ["sandbox.create", "sandbox.destroy"]
    assert await found("action=run&action=sandbox.destroy") == ["run", "sandbox.destroy"]
    assert await found(f"sandbox={made['id']}&action=sandbox.create") == ["sandbox.create"]
    assert await found("sandbox=none") == []
    (run,) = (await web.client.get("/v1/events?action=run")).json()["items"]
    assert await found(f"since={run['at']!r}&action=sandbox.create") == []
    assert await found(f"until={run['at']!r}&action=run") == []
    for wrong in ("action=a%25", "action=*", "since=-1", "until=x", "sandbox=a/b"):
        assert (await web.client.get(f"/v1/events?{wrong}")).status_code == 422, wrong


async def test_events_of_what_is_long_gone(web: Web) -> None:
    made = (await web.client.post("/v1/sandboxes", json={"name": "box"})).json()
    await web.client.delete("/v1/sandboxes/box")
    ran = (await web.client.post("/v1/run", json={"argv": ["true"]})).json()
    await web.services.audit.flush()
    assert await web.services.store.prune(2.0**40) == 1
    assert (await web.client.get(f"/v1/sandboxes/{made['id']}")).status_code == 404
    items = (await web.client.get(f"/v1/sandboxes/{made['id']}/events")).json()["items"]
    assert [each["action"] for each in items] == ["sandbox.create", "sandbox.destroy"]
    assert items[0]["detail"]["name"] == "box"
    items = (await web.client.get(f"/v1/sandboxes/{ran['id']}/events")).json()["items"]
    assert [each["action"] for each in items] == ["run"]
    async with web.client_from(headers={"x-api-key": await web.key(tenant="blue")}) as other:
        assert (await other.get(f"/v1/sandboxes/{made['id']}/events")).status_code == 404


async def test_events_as_a_stream(web: Web) -> None:
    await web.client.post("/v1/sandboxes", json={"name": "box"})
    await web.services.audit.flush()
    # The in-process transport gives a stream only when it has ended: the drain ends followers.
    import anyio

    async def end() -> None:
        await anyio.sleep(0.1)  # waits on purpose: the stream is open by then
        web.app.state.front.streams.end_followers()

    async with anyio.create_task_group() as group:
        group.start_soon(end)
        answer = await web.client.get(
            "/v1/events?cursor=0", headers={"accept": "text/event-stream"}
        )
    events = events_of(answer.text)
    assert events
    assert all(kind == "audit" for _, kind, _ in events)
    assert [int(place) for place, _, _ in events] == sorted({int(p) for p, _, _ in events})


async def test_events_of_all_tenants_are_for_admins(web: Web) -> None:
    key = await web.key(tenant="blue")
    async with web.client_from(headers={"x-api-key": key}) as client:
        assert (await client.get("/v1/events?all_tenants=true")).status_code == 403
        assert (await client.get("/v1/events")).json()["items"] == []
    assert (await web.client.get("/v1/events?all_tenants=true")).status_code == 200


async def test_docs_need_no_other_server(web: Web) -> None:
    page = (await web.client.get("/docs")).text
    assert "http://" not in page
    assert "https://" not in page
    assert (await web.client.get("/")).headers["location"] == "/docs"
