"""wasmrun's agent API: sessions with files, WebAssembly, JavaScript and a small shell."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from atoll.dialects.wasmrun.app import open_app
from atoll.dialects.wasmrun.kept import PRELOAD
from atoll.dialects.wasmrun.options import Options
from atoll.dialects.wasmrun.parity import PARITY
from atoll.dialects.wasmrun.programs import ENGINE_FILES
from atoll.http.dialect import Dialect


def _files() -> Sequence[tuple[str, str]]:
    return ((str(Path(__file__).with_name("js")), ENGINE_FILES),)


def _page() -> str:
    return resources.files("atoll.dialects.wasmrun").joinpath("page.md").read_text("utf-8")


def _guards(options: Options) -> bool:
    return options.auth is not None


WASMRUN = Dialect(
    name="wasmrun",
    title="wasmrun's agent API",
    port=8430,
    options=Options,
    open=open_app,
    parity=PARITY,
    page=_page,
    guards=_guards,
    files=_files,
    preload=PRELOAD,
)
