"""agentkernel's own clients, unmodified: every method, in Python (sync and async) and Node."""

import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import agentkernel as ak
import anyio.to_thread
import httpx
import pytest

from tests.e2e.server import Server
from tests.facilities import NPM_CLIENTS

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "python3")]
NPM = Path(__file__).with_name("npm")
NOT_YET: list[tuple[str, tuple[Any, ...]]] = [
    ("list_orchestrations", ()),
    ("create_orchestration", ({},)),
    ("get_orchestration", ("a",)),
    ("signal_orchestration", ("a", {})),
    ("terminate_orchestration", ("a",)),
    ("list_orchestration_definitions", ()),
    ("upsert_orchestration_definition", ({},)),
    ("get_orchestration_definition", ("a",)),
    ("delete_orchestration_definition", ("a",)),
    ("list_objects", ()),
    ("create_object", ({},)),
    ("get_object", ("a",)),
    ("call_object", ("a", "b", "c")),
    ("delete_object", ("a",)),
    ("patch_object", ("a",)),
    ("list_schedules", ()),
    ("create_schedule", ({},)),
    ("get_schedule", ("a",)),
    ("delete_schedule", ("a",)),
    ("list_stores", ()),
    ("create_store", ({},)),
    ("get_store", ("a",)),
    ("delete_store", ("a",)),
    ("query_store", ("a", {})),
    ("execute_store", ("a", {})),
    ("command_store", ("a", {})),
]


@pytest.fixture(scope="module")
def server(place: tuple[Server, str]) -> Server:
    return place[0]


@pytest.fixture(scope="module", params=["a key", "no key"])
def key(request: pytest.FixtureRequest, server: Server) -> str | None:
    if request.param == "no key":
        return None
    made = httpx.post(f"{server.url}/v1/keys", json={"name": "sdk"})
    return str(made.json()["key"])


def sync(client: ak.AgentKernel) -> Any:
    """Each method as a coroutine function, run in a thread."""

    class Proxy:
        def __getattr__(self, name: str) -> Any:
            async def call(*args: Any, **more: Any) -> Any:
                work = partial(getattr(client, name), *args, **more)
                return await anyio.to_thread.run_sync(work)

            return call

    return Proxy()


async def script(client: Any, name: str) -> None:
    """Every method of the client that the dialect supports, but streams and sessions."""
    assert await client.health() == "ok"
    assert (await client.run(["python3", "-c", "print(1+1)"])).output == "2\n"
    assert (await client.run(["echo", "x"], profile="restrictive", fast=False)).output == "x\n"
    batch = await client.batch_run([["echo", "a"], ["false"]])
    assert [each.output for each in batch.results] == ["a\n", None]
    backends = await client.get_backends()
    assert backends.default_backend == "namespace"
    made = await client.create_sandbox(name, vcpus=1, memory_mb=256, profile="moderate")
    assert (made.name, made.status, made.memory_mb) == (name, "running", 256)
    assert name in [each.name for each in await client.list_sandboxes()]
    assert (await client.get_sandbox(name)).uuid == made.uuid
    assert (await client.get_sandbox_by_uuid(made.uuid)).name == name
    done = await client.exec_in_sandbox(
        name, ["sh", "-c", "echo $A; pwd"], env=["A=b"], workdir="/tmp"
    )
    assert done.output == "b\n/tmp\n"
    assert await client.write_file(name, "tmp/a", "hello") == "Wrote 5 bytes to /tmp/a"
    assert (await client.read_file(name, "tmp/a")).content == "hello"
    assert (await client.read_file(name, "/tmp/a")).size == 5
    await client.write_file(name, "tmp/b", "AAE=", encoding="base64")
    assert (await client.read_file(name, "tmp/b")).size == 2
    assert await client.delete_file(name, "tmp/a") == "Deleted /tmp/a"
    assert (await client.write_files(name, {"/workspace/c": "1"})).written == 1
    assert (await client.get_sandbox_logs(name))[0]["event"] == "sandbox_created"
    command = await client.exec_detached(name, ["sleep", "600"])
    assert (await client.detached_status(name, command.id)).status == "running"
    assert [each.id for each in await client.detached_list(name)] == [command.id]
    assert (await client.detached_logs(name, command.id)).stdout == ""
    assert (await client.detached_logs(name, command.id, stream="stderr")).stderr == ""
    assert await client.detached_kill(name, command.id) == "Command killed"
    assert await client.extend_ttl(name, by="1h")
    snapshot = await client.take_snapshot(name)
    named = await client.take_snapshot(name, snapshot_name=f"{name}-snap")
    assert (named.name, named.sandbox) == (f"{name}-snap", name)
    assert {snapshot.name, named.name} <= {each.name for each in await client.list_snapshots()}
    assert (await client.get_snapshot(named.name)).created_at == named.created_at
    back = await client.restore_snapshot(named.name)
    assert back.status == "stopped"
    assert (await client.exec_in_sandbox(back.name, ["cat", "c"])).output == "1"
    for each in (snapshot, named):
        await client.delete_snapshot(each.name)
    await client.remove_sandbox(back.name)
    await client.remove_sandbox(name)
    for kind, work in (
        (ak.NotFoundError, client.get_sandbox(name)),
        (ak.ValidationError, client.create_sandbox("-")),
        (ak.ServerError, client.run(["false"])),
    ):
        with pytest.raises(kind):
            await work
    for method, args in NOT_YET:
        if isinstance(client, ak.AsyncAgentKernel) and not hasattr(client, method):
            continue  # two methods only the synchronous client has
        with pytest.raises(ak.ServerError, match="is not supported by this server"):
            await getattr(client, method)(*args)


@pytest.mark.parity("sdk.python")
async def test_async(server: Server, key: str | None) -> None:
    async with ak.AsyncAgentKernel(f"{server.url}/agentkernel", api_key=key) as client:
        await script(client, "async-one")
        events = [each async for each in await client.run_stream(["echo", "x"])]
        assert events[0].type == "started"
        assert events[-1].type == "done"
        assert "x\n" in [each.data.get("data") for each in events]
        async with await client.sandbox("session") as box:
            assert (await box.write_files({"/workspace/a": "1"})).written == 1
            assert (await box.run(["cat", "a"])).output == "1"
            assert (await box.info()).status == "running"
        with pytest.raises(ak.NotFoundError):
            await client.get_sandbox("session")


@pytest.mark.parity("sdk.python")
async def test_sync(server: Server, key: str | None) -> None:
    with ak.AgentKernel(f"{server.url}/agentkernel", api_key=key) as client:
        await script(sync(client), "sync-one")
        await anyio.to_thread.run_sync(_more, client)


def _more(client: ak.AgentKernel) -> None:
    events = list(client.run_stream(["sh", "-c", "echo x; exit 3"], fast=False))
    assert events[0].type == "started"
    assert events[-1].type == "done"
    assert events[-1].data["exit_code"] == 3
    with client.sandbox("session") as box:
        assert box.write_files({"/workspace/a": "1"}).written == 1
        assert box.run(["cat", "a"]).output == "1"
        assert box.info().status == "running"
    with pytest.raises(ak.NotFoundError):
        client.get_sandbox("session")


@pytest.mark.parity("sdk.python")
async def test_a_wrong_key(server: Server) -> None:
    async with ak.AsyncAgentKernel(f"{server.url}/agentkernel", api_key="nope") as client:
        assert await client.health() == "ok"
        with pytest.raises(ak.AuthError, match="Invalid API key"):
            await client.list_sandboxes()


@pytest.mark.needs("node", "npm-clients")
@pytest.mark.parity("sdk.node")
def test_node(server: Server, key: str | None) -> None:
    argv = ["node", str(NPM / "client.mjs"), str(NPM_CLIENTS), f"{server.url}/agentkernel"]
    done = subprocess.run(
        [*argv, key or ""], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr, done.returncode) == ("ok\n", "", 0)
