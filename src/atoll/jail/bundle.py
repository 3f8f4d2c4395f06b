"""Ship the far side's modules to a bare python3: one memfd with sources, configuration, loader.

The far side sees neither the server's virtual environment nor its files, so what it runs must come
to it. The bundle is a Python program that registers the modules and calls an entry point.
"""

import importlib.util
import json
import os
from typing import Any

MODULES = (
    "atoll.wire.message",
    "atoll.wire.paths",
    "atoll.wire.stream",
    "atoll.guest.dialing",
    "atoll.guest.forward",
    "atoll.guest.pack",
    "atoll.guest.whole",
    "atoll.guest.filework",
    "atoll.guest.python",
    "atoll.guest.start",
    "atoll.guest.watching",
    "atoll.guest.processes",
    "atoll.guest.work",
    "atoll.guest.wasm.home",
    "atoll.guest.wasm.report",
    "atoll.guest.wasm.values",
    "atoll.guest.wasm.engine",
    "atoll.guest.wasm.components",
    "atoll.guest.wasm.quickjs",
    "atoll.guest.wasm.runner",
    "atoll.guest.wasm.started",
    "atoll.guest.wasm.waiting",
    "atoll.guest.wasm.proved",
    "atoll.guest.wasm.program",
    "atoll.guest.wasm.warm",
    "atoll.jail.syscalls",
    "atoll.jail.rootfs",
    "atoll.jail.launch",
    "atoll.jail.mounts",
    "atoll.jail.child",
    "atoll.jail.zygote",
    "atoll.jail.maker",
    "atoll.jail.landlock",
    "atoll.jail.plain",
)

_LOADER = """
import json, os, sys
def _atoll():
    bundle = json.loads(BUNDLE)
    sources = bundle["modules"]
    from importlib.machinery import ModuleSpec
    codes = {}
    class AtollBundle:
        def compile(self, name):
            codes[name] = compile(sources[name], "<" + name + ">", "exec")
        def find_spec(self, name, path=None, target=None):
            if name in sources or any(n.startswith(name + ".") for n in sources):
                return ModuleSpec(name, self, is_package=name not in sources)
        def create_module(self, spec):
            return None
        def exec_module(self, module):
            name = module.__name__
            if name in sources:
                if name not in codes:
                    self.compile(name)
                exec(codes.pop(name), module.__dict__)
    finder = AtollBundle()
    sys.meta_path.insert(0, finder)
    entry = bundle["config"]["entry"] if len(sys.argv) > 1 else "atoll.jail.maker"
    module = __import__(entry, fromlist=["run"])
    if bundle["config"]["data"] or bundle["config"]["store"]:
        # Kept sandboxes may change what later imports would find; theirs are all done now.
        for name in sources:
            __import__(name)
        import shutil
    return module.run, bundle["config"]
_run, _config = _atoll()
del _atoll, BUNDLE
_run(_config)
"""


def source(module: str) -> str:
    """The text of one of our modules, wherever the package is installed."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(module)
    text = spec.loader.get_source(module)  # type: ignore[attr-defined]
    assert isinstance(text, str)  # noqa: S101
    return text


def pack(config: dict[str, Any]) -> int:
    """A memfd holding the bundle, at its beginning. The caller closes it."""
    modules = {name: source(name) for name in MODULES}
    payload = json.dumps({"modules": modules, "config": config})
    fd = os.memfd_create("atoll-bundle", os.MFD_CLOEXEC)
    text = f"BUNDLE = {payload!r}\n{_LOADER}".encode()
    view = memoryview(text)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
