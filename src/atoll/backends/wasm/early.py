"""The modules that nearly every Python program imports, in small archives.

CPython's WASI build has its library in an archive of 460 names, and reads its whole directory
before the first import: half of the time that a short program takes. One with what every start
imports comes first on the path, then one of forty names, neither of them deflated, and most
programs never come to the third. Other encodings are in that, so the package looks there, too.
"""

from collections.abc import Mapping
from pathlib import Path

import anyio

from atoll.backends.wasm.compiler import OURS
from atoll.core.errors import BackendFault
from atoll.core.model import ProcessSpec, SandboxSpec
from atoll.core.ports import Backend

_BOOT = Path(__file__).parents[2] / "guest" / "wasm" / "boot.py"
ARCHIVES = ("start.zip", "more.zip")
_MAKE = f"""
import marshal, zipfile
from importlib._bootstrap_external import _code_to_timestamp_pyc as pyc
library = "/usr/local/lib/python312.zip"
whole = zipfile.ZipFile(library)
start = ("encodings/aliases", "encodings/utf_8", "encodings/ascii", "encodings/latin_1")
more = (
    "__future__", "re/__init__", "re/_casefix", "re/_compiler", "re/_constants", "re/_parser",
    "enum", "types", "functools", "collections/__init__", "collections/abc", "operator", "keyword",
    "reprlib", "copyreg", "json/__init__", "json/decoder", "json/encoder", "json/scanner",
    "json/tool", "contextlib", "string", "typing", "warnings", "weakref", "_weakrefset", "heapq",
    "bisect", "random", "copy", "dataclasses", "inspect", "textwrap", "traceback", "linecache",
    "tokenize", "token", "datetime", "math",
)
# The package's own code, behind a line before it.
package = marshal.loads(whole.read("encodings/__init__.pyc")[16:])
text = f"__path__.append({{library + '/encodings'!r}}); exec('code')"
line = compile(text, package.co_filename, "exec")
consts = tuple(package if const == "code" else const for const in line.co_consts)
written = {{"encodings/__init__": pyc(line.replace(co_consts=consts))}}
for name in ("sitecustomize", "usercustomize"):
    written[name] = pyc(compile("", name, "exec"))
written["_atoll_start"] = pyc(compile(open("boot.py").read(), "_atoll_start", "exec"))
for place, names, made in (("{ARCHIVES[0]}", start, written), ("{ARCHIVES[1]}", more, {{}})):
    with zipfile.ZipFile("/workspace/" + place, "w", zipfile.ZIP_STORED) as archive:
        for name, data in made.items():
            archive.writestr(zipfile.ZipInfo(name + ".pyc"), data)
        for name in names:
            if name + ".pyc" in whole.namelist():
                archive.writestr(zipfile.ZipInfo(name + ".pyc"), whole.read(name + ".pyc"))
"""


async def early_modules(backend: Backend) -> Mapping[str, bytes]:
    """Make the archives with the very Python that will read them."""
    files = {"early.py": _MAKE.encode(), "boot.py": await anyio.Path(_BOOT).read_bytes()}
    spec = ProcessSpec(("python3", "early.py"), files=files, wall_s=60.0, cpu_s=60.0)
    async with backend.open(SandboxSpec(f"{OURS}early")) as box:
        process = await box.start(spec)
        said = b"".join([data async for _, data in process.output()])
        if (await process.wait()).code != 0:
            text = said.decode("utf-8", "replace")[-300:]
            raise BackendFault(f"No archives of early modules could be made: {text}")
        return {
            name: b"".join([block async for block in box.files.read(f"/workspace/{name}")])
            for name in ARCHIVES
        }
