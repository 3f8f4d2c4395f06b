"""Which ports may be connected to, without a backend that can."""

from pathlib import Path

import pytest

from atoll.core.errors import InvalidRequest, NotFound, Unsupported
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
