"""Run a Python program in the warm interpreter, so that it cannot tell it from `python3 …`.

Understood are `python3 FILE args`, `python3 -c CODE args` and `python3 -m MODULE args`, with `-u`
before them. Any other flag, any PYTHON… or locale variable, a directory or a zip file in place of
a script: the real `python3` is exec'd instead, and nothing differs but the milliseconds.
"""

import _signal
import atexit
import builtins
import gc
import os
import stat
import sys
import time
import types
from typing import Any, NamedTuple, NoReturn, cast

NAMES = frozenset({"python", "python3", "/usr/bin/python3", "/usr/bin/python", "/bin/python3"})
_COLD = ("PYTHON", "LC_", "LD_", "MALLOC_", "GLIBC_", "LANGUAGE", "OPENSSL_")
_KNOWN = frozenset({"PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "LC_CTYPE"})
_LANG = "C.UTF-8"


class Call(NamedTuple):
    """What to run: `kind` is `script`, `command` or `module`; `argv` is the whole command line."""

    kind: str
    target: str
    args: tuple[str, ...]
    argv: tuple[str, ...]


def recognise(argv: list[str], env: dict[str, str]) -> Call | None:
    """The call, or None when only a real `python3` does the same thing."""
    if not argv or argv[0] not in NAMES or env.get("LANG", _LANG) != _LANG:
        return None
    if any(key.startswith(_COLD) and key not in _KNOWN for key in env):
        return None
    if env.get("PYTHONUNBUFFERED", "1") != "1":
        return None
    rest = argv[1:]
    if rest[:1] == ["-u"]:
        rest = rest[1:]
    if len(rest) >= 2 and rest[0] in ("-c", "-m"):
        kind = "command" if rest[0] == "-c" else "module"
        return Call(kind, rest[1], tuple(rest[2:]), tuple(argv))
    if rest and not rest[0].startswith("-") and _plain_script(rest[0]):
        return Call("script", rest[0], tuple(rest[1:]), tuple(argv))
    return None


def _plain_script(path: str) -> bool:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            return file.read(4) != b"PK\x03\x04"
    except OSError:
        return False


def main(call: Call, env: dict[str, str]) -> NoReturn:
    """Run the program and end the process as `python3` would."""
    _freshen(env)
    before = set(sys.modules)
    module = types.ModuleType("__main__")
    module.__builtins__ = builtins  # type: ignore[attr-defined]
    module.__annotations__ = {}
    sys.modules["__main__"] = module
    sys.orig_argv[:] = call.argv
    status = 0
    try:
        _execute(call, module)
    except BaseException as error:  # noqa: BLE001 (the guest's own, whatever it is)
        status = _report(error)
    os._exit(_finish(status, module, before))


def _freshen(env: dict[str, str]) -> None:
    """Nothing of the zygote's own shows: environment, modules, signal handlers, random state."""
    os.environ.clear()
    os.environ.update(env)
    if "TZ" in env:
        time.tzset()
    if env.get("PYTHONDONTWRITEBYTECODE"):
        sys.dont_write_bytecode = True
    for name in [name for name in sys.modules if name == "atoll" or name.startswith("atoll.")]:
        del sys.modules[name]
    sys.meta_path[:] = [one for one in sys.meta_path if type(one).__name__ != "AtollBundle"]
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_IGN)
    for name in ("random", "numpy.random"):
        generator: Any = sys.modules.get(name)
        if generator is not None:
            generator.seed()


def _execute(call: Call, module: types.ModuleType) -> None:
    space = module.__dict__
    if call.kind == "command":
        sys.argv[:] = ["-c", *call.args]
        sys.path.insert(0, "")
        exec(compile(call.target, "<string>", "exec", dont_inherit=True), space)  # noqa: S102
    elif call.kind == "module":
        sys.argv[:] = ["-m", *call.args]
        sys.path.insert(0, os.getcwd())
        import runpy  # noqa: PLC0415 (few programs are modules)

        runpy._run_module_as_main(call.target)  # type: ignore[attr-defined]  # noqa: SLF001
    else:
        path = os.path.abspath(call.target)
        sys.argv[:] = [call.target, *call.args]
        sys.path.insert(0, os.path.dirname(os.path.realpath(call.target)))
        space["__file__"] = path
        space["__cached__"] = None
        with open(path, "rb") as file:
            text = file.read()
        exec(compile(text, path, "exec", dont_inherit=True), space)  # noqa: S102


def _report(error: BaseException) -> int:
    """Print what an uncaught exception prints, without our own frames; the exit status."""
    if isinstance(error, SystemExit):
        return _exit_status(error.code)
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    error.__traceback__ = trace
    if isinstance(error, SyntaxError) and trace is None:
        error = error.with_traceback(None)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    try:
        sys.excepthook(type(error), error, trace)
    except SystemExit as inner:
        return _exit_status(inner.code)
    except BaseException as inner:  # noqa: BLE001 (a broken hook of the guest's)
        sys.stderr.write("Error in sys.excepthook:\n")
        sys.__excepthook__(type(inner), inner, inner.__traceback__)
        sys.stderr.write("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, trace)
    return -_signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1


def _exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    _quietly(sys.stdout)
    sys.stderr.write(f"{code}\n")
    return 1


def _finish(status: int, module: types.ModuleType, before: set[str]) -> int:
    """What the interpreter does at its end: threads, atexit, destructors, flushing."""
    threading: Any = sys.modules.get("threading")
    try:
        if threading is not None:
            threading._shutdown()  # noqa: SLF001
    except BaseException as error:  # noqa: BLE001 (ctrl-C while waiting for threads)
        sys.unraisablehook(types.SimpleNamespace(  # pyright: ignore[reportArgumentType]
            exc_type=type(error), exc_value=error, exc_traceback=error.__traceback__,
            err_msg="Exception ignored in threading shutdown", object=None,
        ))  # fmt: skip
    atexit._run_exitfuncs()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if not _quietly(sys.stdout):
        status = status or 120
    _forget(module, before)
    _quietly(sys.stdout)
    _quietly(sys.stderr)
    if status < 0:
        _signal.signal(-status, _signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


def _forget(module: types.ModuleType, before: set[str]) -> None:
    """Run the destructors of what the program's own modules hold."""
    names = [name for name in list(sys.modules) if name not in before]
    mine = [module, *(sys.modules[name] for name in names)]
    for one in mine:
        space = getattr(one, "__dict__", None)
        if not isinstance(space, dict):
            continue
        for private in (True, False):
            for key in [name for name in cast("dict[object, Any]", space) if isinstance(name, str)]:
                if key.startswith("_") == private and key != "__builtins__":
                    space[key] = None
    gc.collect()


def _quietly(stream: Any) -> bool:
    """Flush; False when the stream is broken."""
    try:
        if stream is not None and not stream.closed:
            stream.flush()
    except (OSError, ValueError):
        return False
    return True
