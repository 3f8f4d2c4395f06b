"""The conformance suite that defines a backend, by theme."""

from atoll.testing.backend.apart import ApartCases
from atoll.testing.backend.archives import ArchiveCases
from atoll.testing.backend.bounds import BoundCases
from atoll.testing.backend.cases import CAPABILITIES, needs
from atoll.testing.backend.content import ContentCases
from atoll.testing.backend.dialing import DialCases
from atoll.testing.backend.exits import ExitCases
from atoll.testing.backend.lifetime import LifetimeCases
from atoll.testing.backend.limits import LimitCases
from atoll.testing.backend.links import LinkCases, OddKindCases
from atoll.testing.backend.output import OutputCases
from atoll.testing.backend.paths import NameCases, TreeCases
from atoll.testing.backend.powers import PackCases, PauseCases, SnapshotCases, WatchCases
from atoll.testing.backend.roots import RootCases
from atoll.testing.backend.secret_files import SecretFileCases
from atoll.testing.backend.starting import EnvironmentCases, SpecFilesCases, StartCases
from atoll.testing.backend.stdin import StdinCases
from atoll.testing.backend.terminal import TerminalCases

__all__ = ["CAPABILITIES", "BackendContract", "needs"]


class BackendContract(
    OutputCases,
    StdinCases,
    ExitCases,
    BoundCases,
    LimitCases,
    StartCases,
    EnvironmentCases,
    SpecFilesCases,
    TerminalCases,
    LifetimeCases,
    ApartCases,
    ContentCases,
    NameCases,
    TreeCases,
    LinkCases,
    OddKindCases,
    ArchiveCases,
    SnapshotCases,
    PackCases,
    PauseCases,
    RootCases,
    SecretFileCases,
    WatchCases,
    DialCases,
):
    """A backend is what passes this.

        class TestMine(BackendContract):
            @pytest.fixture(scope="class")
            async def backend(self):
                async with MyBackend() as backend:
                    yield backend

    Cases that ask for a capability which `probe()` does not report are skipped; `CAPABILITIES`
    lists the words. Needs pytest with the plugin of anyio.
    """
