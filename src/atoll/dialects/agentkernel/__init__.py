"""agentkernel's API: one-shots, batches, sandboxes with files, commands and snapshots."""

from importlib import resources

from atoll.dialects.agentkernel.app import open_app
from atoll.dialects.agentkernel.options import Options
from atoll.dialects.agentkernel.parity import PARITY
from atoll.http.dialect import Dialect


def _page() -> str:
    return resources.files("atoll.dialects.agentkernel").joinpath("page.md").read_text("utf-8")


AGENTKERNEL = Dialect(
    name="agentkernel",
    title="agentkernel's API",
    port=18888,
    options=Options,
    open=open_app,
    parity=PARITY,
    page=_page,
)
