"""What VMs reach: what `allowIps` covers, and nothing else."""

from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from tests.dialects.run_dat_sheesh.rig import Spoken, speaking_sheesh

pytestmark = [pytest.mark.anyio, pytest.mark.needs("root", "userns", "netns", "nft", "ipv6")]
GATEWAY = "172.16.0.1"


@pytest.fixture(scope="module")
async def networked(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Spoken, None]:
    settings = {"network_modes": ["none", "allow", "internet"], "network_alias": GATEWAY}
    place = tmp_path_factory.mktemp("networked")
    async with speaking_sheesh(place, settings=settings) as found:
        yield found


@pytest.fixture(scope="module")
async def service() -> AsyncGenerator[int, None]:
    """Something of the host's that listens on all its addresses; the port."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            with anyio.move_on_after(0.2):  # a shell says nothing, a browser must be heard
                await stream.receive()
            await stream.send(b"HTTP/1.0 200 OK\r\ncontent-length: 4\r\n\r\nhost")

    listener = await anyio.create_tcp_listener(local_host="0.0.0.0")
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        group.cancel_scope.cancel()
    await listener.aclose()


async def reaches(spoken: Spoken, allow: list[str], port: int, **more: Any) -> bool:
    vm = await spoken.vm(allowIps=allow, **more)
    fetch = f"exec 3<>/dev/tcp/{GATEWAY}/{port} && cat <&3"
    found = await spoken.run(vm, f"bash -c '{fetch}'", timeoutMs=10_000)
    await spoken.ask("DELETE", f"/v1/vms/{vm}", status=204)
    return "host" in found["stdout"]


@pytest.mark.parity("vm.network")
@pytest.mark.parametrize(
    ("allow", "wanted"),
    [
        ([f"{GATEWAY}/32"], True), ([GATEWAY], True), (["172.16.0.0/24"], True),
        (["172.16.0.9/24"], True), (["1.1.1.1/32", GATEWAY], True),
        ([], False), (["1.1.1.1/32"], False), (["172.16.1.0/24"], False),
        (["0.0.0.0/0"], False),
    ],
)  # fmt: skip
async def test_the_gateway(networked: Spoken, service: int, allow: list[str], wanted: bool) -> None:
    assert await reaches(networked, allow, service) is wanted


@pytest.mark.parity("vm.network")
async def test_the_internet_is_not_the_gateway(networked: Spoken, service: int) -> None:
    assert await reaches(networked, [], service, outboundInternet=True) is False
    assert await reaches(networked, [GATEWAY], service, outboundInternet=True) is True


@pytest.mark.parity("vm.network")
async def test_the_address(networked: Spoken) -> None:
    made = await networked.post("/v1/vms", {"cpu": 1, "memMb": 256, "allowIps": []}, 201)
    shown = await networked.printed(made["id"], "ip -4 -o addr show dev eth0")
    assert f"inet {made['guestIp']}/" in shown
    assert made["outboundInternet"] is False
    own = f"/v1/vms/{made['id']}"
    await networked.post(f"{own}/stop", None, 204)
    await networked.post(f"{own}/start", None, 204)
    again = await networked.get(own)
    shown = await networked.printed(made["id"], "ip -4 -o addr show dev eth0")
    assert f"inet {again['guestIp']}/" in shown
    await networked.ask("DELETE", own, status=204)


@pytest.mark.parity("vm.network")
async def test_programs_may_use_it(networked: Spoken, service: int) -> None:
    code = f"result.set(await (await fetch('http://{GATEWAY}:{service}/')).text())"
    for internet, wanted in ((True, "host"), (False, None)):
        vm = await networked.vm(allowIps=[GATEWAY], outboundInternet=internet)
        found = await networked.ts(vm, code)
        assert found.get("result") == wanted
        await networked.ask("DELETE", f"/v1/vms/{vm}", status=204)
