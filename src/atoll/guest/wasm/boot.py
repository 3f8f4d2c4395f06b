"""Runs inside CPython on WASI: it has started, waits for its order, and becomes that program.

`early` puts it into an archive as `_atoll_start`. What it waits for is in `guest.wasm.started`.
Nothing of it is left for the program to see but frames beneath its own.
"""

import marshal
import os
import sys

TYPE_CHECKING = False  # `typing` would be there for the program to see, and takes long
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, NoReturn

GO, ORDER = "/.start/go", "/.start/order"


def main() -> "NoReturn":
    """Become what the order says, and end as `python3` would."""
    os.close(os.open(GO, os.O_RDONLY))
    with open(ORDER, "rb", buffering=0) as file:
        order = marshal.loads(file.read())  # noqa: S302 (the worker's own)
    if order is None:
        os._exit(0)
    script, source, args, words, env = order
    _set_environment(env)
    space = sys.modules["__main__"].__dict__
    for name in ("start", "_atoll_start"):
        space.pop(name, None)
        sys.modules.pop(name, None)
    sys.orig_argv[:] = words
    sys.argv[:] = ["-c" if script is None else script, *args]
    try:
        if script is None:
            code = compile(source, "<string>", "exec", dont_inherit=True)
        else:
            code = _script(script, space)
        exec(code, space)  # noqa: S102
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 (the program's own, whatever it is)
        _complain(error)
    raise SystemExit(0)


def _set_environment(env: dict[str, str]) -> None:
    for key in [key for key in os.environ if key not in env]:
        del os.environ[key]
    for key, value in env.items():
        if os.environ.get(key) != value:
            os.environ[key] = value


def _script(script: str, space: "dict[str, Any]") -> "CodeType":
    path = script if script.startswith("/") else f"{os.getcwd()}/{script}"
    external: Any = sys.modules["_frozen_importlib_external"]
    loader = external.SourceFileLoader("__main__", path)
    space.update(__file__=path, __cached__=None, __loader__=loader)
    head = script[: script.rfind("/") + 1]
    sys.path[0] = head[:-1] if len(head) > 1 else head
    with open(path, "rb", buffering=0) as file:
        return compile(file.read(), path, "exec", dont_inherit=True)


def _complain(error: BaseException) -> "NoReturn":
    """Print what an uncaught exception prints, without the frames that are ours."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    error.__traceback__ = trace
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, trace
    sys.last_exc = error  # type: ignore[attr-defined,unused-ignore]
    sys.excepthook(type(error), error, trace)
    raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1) from None
