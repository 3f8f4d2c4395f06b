"""Run a Python program in the warm interpreter, so that it cannot tell it from `python3 …`.

Understood are `python3 FILE args`, `python3 -c CODE args` and `python3 -m MODULE args`, with `-u`
before them. Any other flag, any PYTHON… or locale variable, a virtual environment, packages in the
user's home, a directory or a zip file in place of a script, code that does not compile, a file
that shadows a module which is loaded here already: the real `python3` is exec'd instead, and
nothing differs but the milliseconds.

What a program can still notice: modules in `sys.modules` that it has not imported (and so a
shadow of one that it only makes, or puts on `sys.path`, later), our frames beneath its own
(`traceback.print_stack`, fifteen fewer levels of recursion), `/proc/self/cmdline`, the same hash
seed in all forks of one zygote.
"""

import _signal
import _weakref
import atexit
import builtins
import ctypes
import gc
import os
import resource
import stat
import sys
import time
import types
from collections.abc import Mapping
from importlib.machinery import BuiltinImporter, SourceFileLoader
from typing import Any, NamedTuple

# Programs of ours that a zygote may hold: the module whose `main` they are.
HELD = {"atoll-wasm": "atoll_wasm"}
NAMES = frozenset({"python", "python3", "/usr/bin/python3", "/usr/bin/python", "/bin/python3"})
_COLD = ("PYTHON", "LC_", "LD_", "MALLOC_", "GLIBC_", "LANGUAGE", "OPENSSL_")
_KNOWN = frozenset({"PYTHONUNBUFFERED"})
_LANG = "C.UTF-8"
_USER_SITE = f".local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
_LATE_ORIGINS = (None, "built-in", "frozen")
_SYSTEM = frozenset(
    f"{place}/{part}" for place in ("/usr/local", "/usr", "") for part in ("sbin", "bin")
)
# What is installed in the image, where no sandbox can write.
_INSTALLED = frozenset(
    path
    for place in _SYSTEM
    for name in ("python", "python3")
    if os.access(path := f"{place}/{name}", os.X_OK)
)
_PR_SET_NAME = 15
_FLUSH_FAILED = 120
_BLOCK = 64 * 1024
_libc = ctypes.CDLL(None)
# As they are before a program can put something else in their place.
_exit, _fstat, _getpid, _waitid, _write = os._exit, os.fstat, os.getpid, os.waitid, os.write
_P_ALL, _WEXITED, _WNOHANG, _WNOWAIT = os.P_ALL, os.WEXITED, os.WNOHANG, os.WNOWAIT
_getrusage = resource.getrusage
_LIGHT_KIB = 64 * 1024
_RUSAGE_SELF, _RUSAGE_CHILDREN = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN


class Call(NamedTuple):
    """What to run: `kind` is `script`, `command`, `module` or, of ours, `held`.

    `argv` is the whole command line.

    `source` is the code, `place` what comes first on `sys.path`, `python` the interpreter's path.
    """

    kind: str
    target: str
    source: str | bytes
    place: str
    args: tuple[str, ...]
    argv: tuple[str, ...]
    python: str


def recognise(argv: list[str], env: Mapping[str, str]) -> Call | None:
    """The call, or None when only a real `python3` does the same thing."""
    if argv and HELD.get(argv[0]) in sys.modules:
        return Call("held", HELD[argv[0]], "", "", tuple(argv[1:]), tuple(argv), sys.executable)
    if not argv or argv[0] not in NAMES or env.get("LANG", _LANG) != _LANG:
        return None
    if any(key.startswith(_COLD) and key not in _KNOWN for key in env):
        return None
    python = _found(argv[0], env)
    if env.get("PYTHONUNBUFFERED", "1") != "1" or python not in NAMES:
        return None
    if os.path.exists(os.path.join(env.get("HOME", "/"), _USER_SITE)):
        return None
    call = _parsed(argv, python)
    return None if call is None or _shadows(call.place or ".") else call


def _found(name: str, env: Mapping[str, str]) -> str:
    """The file that an exec would run. A host without a plain `python` has it here."""
    if "/" not in name:
        for place in env.get("PATH", os.defpath).split(":"):
            path = f"{place}/{name}"
            if place in _SYSTEM:
                if path in _INSTALLED:
                    return path
            elif os.access(path, os.X_OK) and not os.path.isdir(path):
                return path
        return sys.executable
    return name


def _parsed(argv: list[str], python: str) -> Call | None:
    rest = argv[1:]
    if rest[:1] == ["-u"]:
        rest = rest[1:]
    if len(rest) >= 2 and rest[0] in ("-c", "-m"):
        kind, place = ("command", "") if rest[0] == "-c" else ("module", os.getcwd())
        return Call(kind, rest[1], rest[1], place, tuple(rest[2:]), tuple(argv), python)
    if not rest or rest[0].startswith("-") or rest[0].endswith(".pyc"):
        return None
    try:
        if not stat.S_ISREG(os.stat(rest[0]).st_mode):
            return None
        source = _content(rest[0])
        place = os.path.dirname(os.path.realpath(rest[0]))
    except OSError:
        return None
    if source.startswith(b"PK\x03\x04"):
        return None
    return Call("script", rest[0], source, place, tuple(rest[1:]), tuple(argv), python)


def _content(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts: list[bytes] = []
        while part := os.read(fd, _BLOCK):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def _shadows(directory: str) -> bool:
    """Whether a file there has the name of a loaded module that it would come before."""
    try:
        names = os.listdir(directory)
    except OSError:
        return True
    for name in names:
        loaded = sys.modules.get(name.partition(".")[0])
        spec = getattr(loaded, "__spec__", None)
        if spec is not None and spec.origin not in _LATE_ORIGINS:
            return True
    return False


def rehearse(argv: list[str], env: Mapping[str, str]) -> None:
    """Go through what a run does; what every program needs gone from the zygote goes already."""
    call = recognise(argv, env)
    if call is not None:
        code = _compiled(call)
        exec(code, {})  # noqa: S102
    _flushed()
    _unload()
    gc.collect(0)


def main(call: Call, env: dict[str, str] | None, farewell: str | None = None) -> None:
    """Run the program and end the process as `python3` would; returns when that must do it.

    One that ends with 0 says `farewell` first: its memory is taken down before anybody hears of
    its end.
    """
    own = _own()
    code = None
    if call.kind in {"script", "command"}:
        try:
            code = _compiled(call)
        except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError):
            return
    _freshen(call, env)
    before = set(sys.modules)
    status = _finish(_report(_outcome(call, code)), before)
    if status == 0 and farewell is not None and _own() == own and _childless():
        _say_farewell(farewell)
    _exit(status)


def _own() -> tuple[int, int, int] | None:
    """Which process this is, since a program may fork, and what its descriptor 1 is."""
    try:
        found = _fstat(1)
    except OSError:
        return None
    return _getpid(), found.st_dev, found.st_ino


def _childless() -> bool:
    """Whether nobody is left who could write more after the end."""
    try:
        _waitid(_P_ALL, 0, _WEXITED | _WNOHANG | _WNOWAIT)
    except ChildProcessError:
        return True
    except OSError:
        return False
    return False


def _say_farewell(nonce: str) -> None:
    """To descriptor 1, which is still the pipe that it was: behind all that was written there."""
    own, children = _getrusage(_RUSAGE_SELF), _getrusage(_RUSAGE_CHILDREN)
    used = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    peak = max(own.ru_maxrss, children.ru_maxrss)
    if peak > _LIGHT_KIB:
        return  # its memory is still taken, for longer, when the next program asks for some
    try:
        _write(1, b"\0atoll:%s:%d:%d\n" % (nonce.encode(), int(used * 1e6), peak))
    except OSError:
        return


def _compiled(call: Call) -> types.CodeType:
    if isinstance(call.source, str):
        return compile(call.source, "<string>", "exec", dont_inherit=True)
    call.source.decode()  # `compile` lets in what a script must not hold
    return compile(call.source, _absolute(call.target), "exec", dont_inherit=True)


def _absolute(path: str) -> str:
    """As Python does it: `.` and `..` stay."""
    return path if path.startswith("/") else f"{os.getcwd()}/{path}"


def _freshen(call: Call, env: dict[str, str] | None) -> None:
    """Nothing of the zygote's own shows: environment, modules, signal handlers, random state."""
    if env is not None:
        _set_environment(env)
        if "TZ" in env:
            time.tzset()
    _unload()
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_IGN)
    for name in ("random", "numpy.random"):
        generator: Any = sys.modules.get(name)
        if generator is not None:
            generator.seed()
    _libc.prctl(_PR_SET_NAME, os.path.basename(call.python).encode(), 0, 0, 0)
    sys.executable = sys._base_executable = call.python  # type: ignore[attr-defined]  # noqa: SLF001
    sys.orig_argv[:] = call.argv


def _unload() -> None:
    """Forget the modules that only the zygote has; what runs of them needs no import any more."""
    for name in [name for name in sys.modules if name == "atoll" or name.startswith("atoll.")]:
        del sys.modules[name]
    sys.meta_path[:] = [one for one in sys.meta_path if type(one).__name__ != "AtollBundle"]


def _set_environment(env: dict[str, str]) -> None:
    """Change what differs, for C; Python's copy gets the order that an exec would give it."""
    environ: Any = os.environ
    held: dict[bytes, bytes] = environ._data  # noqa: SLF001
    wanted = {os.fsencode(key): os.fsencode(value) for key, value in env.items()}
    for key in held:
        if key not in wanted:
            os.unsetenv(key)
    for key, value in wanted.items():
        if held.get(key) != value:
            os.putenv(key, value)
    held.clear()
    held.update(wanted)


def _outcome(call: Call, code: types.CodeType | None) -> BaseException | None:
    """Run the program to its last line; what it raised."""
    try:
        _execute(call, code)
    except BaseException as error:  # noqa: BLE001 (the guest's own, whatever it is)
        return _stripped(error)
    return None


def _execute(call: Call, code: types.CodeType | None) -> None:
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    space = module.__dict__
    space.update(__annotations__={}, __builtins__=builtins, __loader__=BuiltinImporter)
    if call.kind == "held":
        sys.argv[:] = call.argv
        sys.modules[call.target].main()
        return
    if code is None:
        sys.argv[:] = ["-m", *call.args]
        sys.path.insert(0, call.place)
        import runpy  # noqa: PLC0415 (few programs are modules)

        runpy._run_module_as_main(call.target)  # type: ignore[attr-defined]  # noqa: SLF001
        return
    sys.path.insert(0, call.place)
    sys.argv[:] = ["-c" if call.kind == "command" else call.target, *call.args]
    if call.kind == "script":
        path = _absolute(call.target)
        space.update(__loader__=SourceFileLoader("__main__", path), __file__=path, __cached__=None)
    exec(code, space)  # noqa: S102


def _stripped(error: BaseException) -> BaseException:
    """The error, without our own frames in its traceback."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    return error.with_traceback(trace)


def _report(error: BaseException | None) -> int:
    """Print what an uncaught exception prints; the exit status, or minus the signal to die of."""
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        return _exit_status(error.code)
    trace = error.__traceback__
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    if not hasattr(sys, "excepthook"):
        _say("sys.excepthook is missing\n")
        sys.excepthook = sys.__excepthook__
    failure: BaseException | None = None
    try:
        sys.excepthook(type(error), error, trace)
    except BaseException as inner:  # noqa: BLE001 (a broken hook of the guest's)
        failure = _stripped(inner)
    if isinstance(failure, SystemExit):
        return _exit_status(failure.code)
    if failure is not None:
        _say("Error in sys.excepthook:\n")
        sys.__excepthook__(type(failure), failure, failure.__traceback__)
        _say("\nOriginal exception was:\n")
        sys.__excepthook__(type(error), error, trace)
    return -_signal.SIGINT if type(error) is KeyboardInterrupt else 1


def _exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code) & 0xFF if -(1 << 63) <= code < 1 << 63 else 0xFF
    try:
        text = str(code)
        if getattr(sys, "stderr", None) is not None:
            sys.stderr.write(text)
        else:
            _say(text)
    except BaseException:  # noqa: BLE001, S110 (the guest's object, or its stderr)
        pass
    _say("\n")
    return 1


def _say(text: str) -> None:
    """Write to stderr; past a broken one, to the descriptor."""
    try:
        sys.stderr.write(text)
    except BaseException:  # noqa: BLE001 (whatever the guest has put there)
        os.write(2, text.encode("utf-8", "backslashreplace"))


def _finish(status: int, before: set[str]) -> int:
    """What the interpreter does at its end: threads, atexit, destructors, flushing."""
    threading: Any = sys.modules.get("threading")
    try:
        if threading is not None:
            threading._shutdown()  # noqa: SLF001
    except BaseException as error:  # noqa: BLE001 (ctrl-C while waiting for threads)
        _ignored(error, threading)
    atexit._run_exitfuncs()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    flushed = _flushed()
    _forget(before)
    flushed = _flushed() and flushed
    _libc.fflush(None)
    if status < 0:
        _signal.signal(-status, _signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status if flushed else _FLUSH_FAILED


def _ignored(error: BaseException, source: object) -> None:
    """Say that an exception is ignored, in the interpreter's way."""
    kind, trace = type(error), _stripped(error).__traceback__
    if sys.unraisablehook is sys.__unraisablehook__:
        _say(f"Exception ignored in: {source!r}\n")
        sys.__excepthook__(kind, error, trace)
        return
    hook: Any = sys.unraisablehook
    hook(types.SimpleNamespace(
        exc_type=kind, exc_value=error, exc_traceback=trace, err_msg=None, object=source,
    ))  # fmt: skip


def _flushed() -> bool:
    """Flush stdout and stderr; False when one of them is broken."""
    fine = True
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except BaseException as error:  # noqa: BLE001 (the guest's stream)
            fine = False
            if name == "stdout":
                _ignored(error, stream)
    return fine


class _Sign:
    """Sits in a module's namespace and dies with it."""

    __slots__ = ("__weakref__",)


def _forget(before: set[str]) -> None:
    """Run the destructors of what the program's own modules hold.

    First nothing refers to the modules any more, so that destructors find their globals; then
    those that something of the zygote's still refers to are emptied. That would break threads
    which still run, and which the interpreter would have ended.
    """
    sys.last_type = sys.last_value = sys.last_traceback = None
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    signs: list[Any] = []
    for name in [name for name in sys.modules if name == "__main__" or name not in before]:
        module: Any = sys.modules.pop(name)
        if isinstance(module, types.ModuleType):
            sign = module.__dict__[" "] = _Sign()
            signs.append(_weakref.ref(sign))
            del sign
        del module
    gc.collect()
    kept = [sign for one in signs if (sign := one()) is not None]
    if kept and len(sys._current_frames()) == 1:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
        spaces: list[Any] = [one for one in gc.get_referrers(*kept) if isinstance(one, dict)]
        for space in spaces:
            if space.get(" ") in kept:
                _empty(space)
        spaces.clear()
        gc.collect()


def _empty(space: dict[Any, Any]) -> None:
    """Set all names to None, private ones first, as the interpreter does."""
    for private in (True, False):
        for key in [name for name in space if isinstance(name, str) and name != "__builtins__"]:
            if private <= (key[0:1] == "_" != key[1:2]):
                space[key] = None
