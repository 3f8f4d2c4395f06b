"""Run one module in this process, from its instantiation to its end."""

import os
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from atoll.guest.wasm import components, engine, values
from atoll.guest.wasm.report import (
    EXITED,
    FUEL,
    INVALID,
    MEMORY,
    NO_FUNCTION,
    TRAP,
    WALL_TIME,
    Refused,
    Report,
)

MIB = 1024 * 1024
BAD_CALL = "bad_call"  # of a function of WASI: a pointer or a number that cannot be
TABLE_ELEMENTS = 1_000_000
# A module is one instance; a component is one for each module in it, and some that join them.
INSTANCES, TABLES, MEMORIES = 64, 64, 16


class Task(NamedTuple):
    """What to run.

    `argv[0]` is what the module is told its name is; the rest are its arguments or, with
    `invoke`, those of that function. `roots` are directories: the path, its name for the module,
    whether it may write; `opened` has them already. `call` calls what is not a program by itself.
    Zero means no bound.
    """

    argv: list[str]
    env: dict[str, str]
    roots: list[tuple[str, str, bool]]
    invoke: str | None = None
    memory_bytes: int = 0
    fuel: int = 0
    wall_s: float = 0.0
    call: Callable[[Any, Any, Any], Report] | None = None
    stdio: bool = True
    opened: Any = None


def run(task: Task, load: Callable[[], Any], tell: Callable[[Report], None]) -> None:
    """Load the module, run it, and `tell` how it ended. Returns only before the wall time.

    At the wall time the process ends, whatever the module is in the middle of: a loop, or a
    system call that no interruption of WebAssembly code would reach.
    """
    done = threading.Lock()
    if task.wall_s > 0:
        clock = threading.Timer(task.wall_s, _late, (task.wall_s, done, tell))
        clock.daemon = True
        clock.start()
    try:
        report = _ran(task, load())
    except Refused as refused:
        report = refused.report
    done.acquire()
    tell(report)


def _late(wall_s: float, done: threading.Lock, tell: Callable[[Report], None]) -> None:
    if done.acquire(blocking=False):
        report = Report(WALL_TIME, detail=f"It ran for longer than {wall_s:g} s.")
        tell(report)
        os._exit(report.status)


def _ran(task: Task, module: Any) -> Report:
    import wasmtime

    counted = task.fuel > 0
    store = wasmtime.Store(engine.engine(fuel=counted))
    store.set_limits(
        memory_size=task.memory_bytes or -1,
        table_elements=TABLE_ELEMENTS,
        instances=INSTANCES,
        tables=TABLES,
        memories=MEMORIES,
    )
    if counted:
        store.set_fuel(task.fuel)
    store.set_wasi(_wasi(task))
    instance = None
    begun = False
    try:
        if not isinstance(module, wasmtime.Module):
            component = components.linker(fuel=counted).instantiate(store, module)
            begun = True
            return components.called(module, store, component, task.invoke, task.argv[1:])
        instance = engine.linker(fuel=counted).instantiate(store, module)
        begun = True
        if task.call is not None:
            return task.call(task, store, instance)
        return _called(task, store, instance)
    except engine.Left as end:
        return Report(EXITED, end.code & 0xFF)
    except wasmtime.ExitTrap as end:
        return Report(EXITED, end.code & 0xFF)
    except wasmtime.Trap as trap:
        name = "trap" if trap.trap_code is None else trap.trap_code.name.lower()
        return _trapped(task, name, trap.message, full=_full(task.memory_bytes, store, instance))
    except wasmtime.WasmtimeError as error:
        message = str(error)
        known = components.trap(message) or (BAD_CALL if begun else None)
        return _failed(message) if known is None else _trapped(task, known, message, full=False)


def opened(roots: list[tuple[str, str, bool]]) -> Any:
    """What a module sees of the sandbox, for one `Task`. Raises `Refused`."""
    import wasmtime

    config = wasmtime.WasiConfig()
    for directory, name, writable in roots:
        try:
            config.preopen_dir(directory, name, writable)
        except wasmtime.WasmtimeError:
            raise Refused(INVALID, f"The directory {directory} cannot be opened.") from None
    return config


def _wasi(task: Task) -> Any:
    config = opened(task.roots) if task.opened is None else task.opened
    config.argv = task.argv[:1] if task.invoke else task.argv
    config.env = list(task.env.items())
    if task.stdio:
        config.inherit_stdin()
        config.inherit_stdout()
        config.inherit_stderr()
    else:
        config.stdout_file = config.stderr_file = os.devnull
    return config


def _called(task: Task, store: Any, instance: Any) -> Report:
    import wasmtime

    exports = instance.exports(store)
    name = task.invoke or "_start"
    function = exports.get(name)
    if not isinstance(function, wasmtime.Func):
        there = sorted(key for key in exports if isinstance(exports[key], wasmtime.Func))
        raise Refused(
            NO_FUNCTION,
            f"The module exports no function {name!r}; it has: {', '.join(there[:40]) or 'none'}.",
        )
    kinds = [str(kind) for kind in function.type(store).params]
    words = task.argv[1:] if task.invoke else []
    given = values.parameters(kinds, words, name)
    begin = exports.get("_initialize")
    if task.invoke and name != "_initialize" and isinstance(begin, wasmtime.Func):
        begin(store)
    return Report(EXITED, 0, results=values.results(function(store, *given)))


def _trapped(task: Task, name: str, detail: str, *, full: bool) -> Report:
    if name == "out_of_fuel":
        return Report(FUEL, trap=name, detail=f"It used up {task.fuel} units of fuel.")
    if full:
        limit = f"All of its {task.memory_bytes // MIB} MiB of memory were in use."
        return Report(MEMORY, trap=name, detail=f"{limit}\n{detail}")
    return Report(TRAP, trap=name, detail=detail)


def _full(limit: int, store: Any, instance: Any) -> bool:
    """Whether a module that trapped could not have grown: they trap when they were refused."""
    import wasmtime

    if instance is None or not limit:
        return False
    exports = instance.exports(store)
    sizes = [
        export.data_len(store) for export in exports.values() if isinstance(export, wasmtime.Memory)
    ]
    return bool(sizes) and sum(sizes) + max(MIB, limit // 16) > limit


def _failed(message: str) -> Report:
    """An instance that could not be made: too large, or of imports that nobody has."""
    first = message.splitlines()[0] if message else "unknown"
    if "exceeds memory limits" in message or "memory limit" in message:
        return Report(MEMORY, detail=f"The module needs more memory than it may use: {first}")
    return Report(INVALID, detail=f"The module cannot be run: {message}")
