import anyio
import pytest

from atoll.backends.fake import FakeBackend
from atoll.core.errors import InvalidRequest, Unavailable, Unsupported
from atoll.core.model import BackendReport, Isolation, NetworkPolicy
from atoll.service.backends import Backends, needs_of
from tests.service.rig import TurnedClock

pytestmark = pytest.mark.anyio


class Counted(FakeBackend):
    """Counts how often it is asked."""

    probes = 0

    async def probe(self) -> BackendReport:
        self.probes += 1
        return await super().probe()


async def test_the_first_that_will_do_is_chosen() -> None:
    weak = FakeBackend("weak")
    broken = FakeBackend("broken", isolation=Isolation.VIRTUAL_MACHINE, why_not="no KVM")
    strong = FakeBackend("strong", isolation=Isolation.INTERPOSED, capabilities={"network"})
    backends = Backends([weak, broken, strong], clock=TurnedClock())
    assert await backends.choose() is weak
    assert await backends.choose(min_isolation=Isolation.INTERPOSED) is strong
    assert await backends.choose("strong") is strong
    assert await backends.choose(needs=frozenset({"network"})) is strong
    with pytest.raises(Unavailable, match="no KVM"):
        await backends.choose("broken")
    with pytest.raises(Unsupported):
        await backends.choose(min_isolation=Isolation.VIRTUAL_MACHINE)
    with pytest.raises(InvalidRequest):
        await backends.choose("none")
    assert [report.name for report in await backends.reports()] == ["weak", "broken", "strong"]
    assert backends.named("strong") is strong
    assert backends.named("none") is None
    assert list(backends) == [weak, broken, strong]


async def test_they_are_asked_once_a_minute() -> None:
    clock = TurnedClock()
    backend = Counted()
    backends = Backends([backend], clock=clock)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(backends.choose)
    clock.at += 59
    await backends.choose()
    assert backend.probes == 1
    clock.at += 2
    backend.why_not = "It broke."
    with pytest.raises(Unavailable, match="broke"):
        await backends.choose()
    assert backend.probes == 2


def test_a_network_is_a_need() -> None:
    assert needs_of(NetworkPolicy()) == frozenset()
    assert needs_of(NetworkPolicy("allow", allow=("example.org",))) == {"network"}
