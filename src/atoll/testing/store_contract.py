"""The conformance suite of `atoll.core.store.Store`.

    class TestMine(StoreContract):
        opener = "my.module:open_store"

        @pytest.fixture
        def address(self, tmp_path):
            return f"mine://{tmp_path}"

`opener` is called with an address and gives `async with … as store`; it is named by a string
because a case opens the store in another process, kills that and opens it again here. Needs the
pytest plugin of anyio.
"""

from atoll.testing.store.belongings import PostMortemCases, ProcessCases, SnapshotCases
from atoll.testing.store.chains import ChainCases
from atoll.testing.store.documents import DocumentCases
from atoll.testing.store.durability import DurabilityCases
from atoll.testing.store.ledgers import ClaimCases, EventCases, KeyCases
from atoll.testing.store.listings import ListingCases
from atoll.testing.store.races import RaceCases
from atoll.testing.store.sandboxes import SandboxCases


class StoreContract(
    SandboxCases,
    ListingCases,
    RaceCases,
    ProcessCases,
    SnapshotCases,
    PostMortemCases,
    EventCases,
    ChainCases,
    KeyCases,
    ClaimCases,
    DocumentCases,
    DurabilityCases,
):
    """Everything that a store promises."""
