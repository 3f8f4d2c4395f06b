"""The modules that nearly every Python program imports, in a small archive.

CPython's WASI build has its library in an archive of 460 names, and reads its whole directory
before the first import: half of the time that a short program takes. One of forty names, not
deflated, comes first on the path and spares most programs that.
"""

from dataclasses import replace

from atoll.backends.wasm.compiler import OURS
from atoll.core.errors import BackendFault
from atoll.core.model import ProcessSpec, SandboxSpec
from atoll.core.ports import Backend

EARLY = "early.zip"
_MAKE = f"""
import zipfile
from importlib._bootstrap_external import _code_to_timestamp_pyc as pyc
whole = zipfile.ZipFile("/usr/local/lib/python312.zip")
wanted = (
    "encodings/__init__", "encodings/aliases", "encodings/utf_8", "encodings/ascii",
    "encodings/latin_1", "__future__", "re/__init__", "re/_casefix", "re/_compiler",
    "re/_constants", "re/_parser", "enum", "types", "functools", "collections/__init__",
    "collections/abc", "operator", "keyword", "reprlib", "copyreg", "json/__init__",
    "json/decoder", "json/encoder", "json/scanner", "contextlib", "string", "typing", "warnings",
    "weakref", "_weakrefset", "heapq", "bisect", "random", "copy", "dataclasses", "inspect",
    "textwrap", "traceback", "linecache", "tokenize", "token", "datetime", "math",
)
with zipfile.ZipFile("/workspace/{EARLY}", "w", zipfile.ZIP_STORED) as early:
    for name in wanted:
        if name + ".pyc" in whole.namelist():
            early.writestr(zipfile.ZipInfo(name + ".pyc"), whole.read(name + ".pyc"))
    for name in ("sitecustomize", "usercustomize"):
        early.writestr(zipfile.ZipInfo(name + ".pyc"), pyc(compile("", name, "exec")))
"""
_SPEC = ProcessSpec(("python3", "early.py"), files={"early.py": _MAKE.encode()})


async def early_modules(backend: Backend) -> bytes:
    """Make the archive with the very Python that will read it."""
    async with backend.open(SandboxSpec(f"{OURS}early")) as box:
        process = await box.start(replace(_SPEC, wall_s=60.0, cpu_s=60.0))
        said = b"".join([data async for _, data in process.output()])
        if (await process.wait()).code != 0:
            text = said.decode("utf-8", "replace")[-300:]
            raise BackendFault(f"No archive of early modules could be made: {text}")
        return b"".join([block async for block in box.files.read(f"/workspace/{EARLY}")])
