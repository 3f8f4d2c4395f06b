"""run-dat-sheesh's API: VMs with an allow-list, a shell, TypeScript, archives, snapshots."""

from importlib import resources

from atoll.dialects.rundatsheesh.app import open_app
from atoll.dialects.rundatsheesh.options import Options
from atoll.dialects.rundatsheesh.parity import PARITY
from atoll.http.dialect import Dialect


def _page() -> str:
    return resources.files("atoll.dialects.rundatsheesh").joinpath("page.md").read_text("utf-8")


def _guards(options: Options) -> bool:
    return options.api_key is not None


RUN_DAT_SHEESH = Dialect(
    name="run-dat-sheesh",
    title="run-dat-sheesh's API",
    port=3000,
    options=Options,
    open=open_app,
    parity=PARITY,
    page=_page,
    guards=_guards,
)
