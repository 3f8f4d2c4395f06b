"""Which backend carries WebAssembly."""

from collections.abc import Sequence

import pytest

from atoll.backends.fake import FakeBackend
from atoll.backends.wasm import FirstUsable
from atoll.core.errors import NotFound, Unavailable, Unsupported
from atoll.testing.backend.running import fresh, names

pytestmark = pytest.mark.anyio

STRONG, WEAK = "strong", "weak"


@pytest.fixture
def both() -> Sequence[FakeBackend]:
    return (FakeBackend(STRONG), FakeBackend(WEAK))


@pytest.mark.parametrize(
    ("strong", "weak", "chosen"),
    [("", "", STRONG), ("no namespaces", "", WEAK), ("", "no seccomp", STRONG)],
)
async def test_the_first_that_is_usable(
    both: Sequence[FakeBackend], strong: str, weak: str, chosen: str
) -> None:
    both[0].why_not, both[1].why_not = strong, weak
    async with FirstUsable(both) as carriers:
        report = await carriers.probe()
        assert (report.name, report.usable, carriers.name) == (chosen, True, chosen)
        spec = fresh()
        async with carriers.open(spec):
            owners = {each.name for each in both if spec.id in await each.owned()}
            assert owners == {chosen}
            assert await carriers.owned() == [spec.id]


async def test_none_says_why_the_strongest_is_not(both: Sequence[FakeBackend]) -> None:
    both[0].why_not, both[1].why_not = "no namespaces", "no seccomp"
    async with FirstUsable(both) as carriers:
        report = await carriers.probe()
        assert (report.usable, report.why) == (False, "no namespaces")
        with pytest.raises(Unavailable, match="no namespaces"):
            async with carriers.open(fresh()):
                pytest.fail("It was opened.")
        both[1].why_not = ""
        assert (await carriers.probe()).name == WEAK


async def test_what_another_keeps_is_not_opened_empty(both: Sequence[FakeBackend]) -> None:
    spec = fresh(persistent=True)
    async with both[0].open(spec) as box:
        await box.files.write("note", b"x")
    both[0].why_not = "no namespaces"
    async with FirstUsable(both) as carriers:
        with pytest.raises(Unavailable, match=STRONG):
            async with carriers.open(spec):
                pytest.fail("It was opened.")
        assert await carriers.owned() == [spec.id]
        await carriers.destroy(spec.id)
        assert await carriers.owned() == []
        async with carriers.open(spec) as box:
            assert await names(box.files, "/workspace") == []


async def test_snapshots_are_those_of_whoever_has_them(both: Sequence[FakeBackend]) -> None:
    async with FirstUsable(both) as carriers:
        spec = fresh(persistent=True)
        async with carriers.open(spec):
            pass
        await carriers.snapshot(spec.id, "s1")
        assert await carriers.snapshots() == await both[0].snapshots() == ["s1"]
        assert await carriers.snapshot_size("s1") >= 0
        await carriers.drop_snapshot("s1")
        with pytest.raises(NotFound):
            await carriers.snapshot_size("s1")


async def test_without_snapshots() -> None:
    async with FirstUsable(()) as carriers:
        with pytest.raises(Unsupported):
            await carriers.snapshots()
