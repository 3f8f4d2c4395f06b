"""Which ports may be connected to, without a backend that can."""

from pathlib import Path

import pytest

from atoll.backends.fake import FakeBackend
from atoll.backends.fake.sandbox import FakeSandbox
from atoll.core.errors import Busy, InvalidRequest, NotFound, Unsupported
from atoll.service.ports import Ports
from atoll.service.requests import CreateSandbox
from tests.service.island import ALICE, BOB, island

pytestmark = pytest.mark.anyio


async def test_a_backend_that_cannot_is_refused_at_the_create(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        with pytest.raises(Unsupported, match="ports"):
            await world.create(ports=(8080,))
        assert await world.stored() == []


@pytest.mark.parametrize("ports", [(0,), (65_536,), (-1,), tuple(range(1, 70))])
async def test_what_is_no_list_of_ports(tmp_path: Path, ports: tuple[int, ...]) -> None:
    async with island(tmp_path) as world:
        with pytest.raises(InvalidRequest) as caught:
            await world.sandboxes.create(CreateSandbox(ports=ports), ALICE)
        assert caught.value.field == "ports"


async def test_undeclared_ports_and_other_tenants(tmp_path: Path) -> None:
    async with island(tmp_path) as world:
        made = await world.create("box")
        ports = Ports(sandboxes=world.sandboxes, audit=world.audit)
        with pytest.raises(NotFound, match="has not declared port 8080"):
            async with ports.connection(ALICE, "box", 8080):
                pass
        with pytest.raises(NotFound, match="no sandbox"):
            async with ports.connection(BOB, made.id, 8080):
                pass


class Line:
    """A connection that leads nowhere."""

    closed = False

    async def aclose(self) -> None:
        self.closed = True


async def test_a_sandbox_has_a_bound_of_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[Line] = []

    async def dial(_: FakeSandbox, port: int) -> Line:
        assert port == 8080
        lines.append(Line())
        return lines[-1]

    monkeypatch.setattr(FakeSandbox, "dial", dial, raising=False)
    capabilities = (await FakeBackend().probe()).capabilities | {"ports"}
    async with island(tmp_path, FakeBackend(capabilities=capabilities)) as world:
        one, two = await world.create("one", ports=(8080,)), await world.create(ports=(8080, 8080))
        assert two.ports == (8080,)
        ports = Ports(sandboxes=world.sandboxes, audit=world.audit, most=1)
        for _ in range(2):
            async with ports.connection(ALICE, "one", 8080):
                with pytest.raises(Busy):
                    async with ports.connection(ALICE, one.id, 8080):
                        pass
                async with ports.connection(ALICE, two.id, 8080):
                    pass
        assert [line.closed for line in lines] == [True] * 4
        await world.audit.flush()
        found = await world.store.list_events(actions=["port.connect"])
        assert [event.detail for event in found] == [{"port": "8080"}] * 4
