"""`atoll-wasm`: run a WebAssembly module as a program of a sandbox."""

import contextlib
import gc
import getopt
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from atoll.guest.wasm import engine, proved, quickjs, runner, started, waiting
from atoll.guest.wasm.home import Home
from atoll.guest.wasm.report import FAILED_CODE, Refused, Report

USAGE = """\
usage: atoll-wasm [--memory-mb N] [--fuel N] [--wall-s S] [--invoke FUNCTION] [--root DIR]
                  [--report FILE] MODULE [ARGS...]

Runs MODULE (binary, or the text form) with DIR (default /workspace) as its `/`. With --invoke,
ARGS are the arguments of that exported function, and its results are printed, one a line.
"""
_WORKSPACE = "/workspace"
_USAGE_CODE = 2
_LIGHT_KIB = 64 * 1024
_OPTIONS = [
    "help", "memory-mb=", "fuel=", "wall-s=", "invoke=", "root=", "report=",
    # Of the workers of the wasm backend: a directory beside the root (`HOST::NAME`, read-only with
    # `:ro` at its end), the environment as JSON, compiled code, how to call, where to compile to,
    # to rehearse this and wait for another, to report only what the exit status does not say,
    # what proves that the code is that of the module, code to have in memory while waiting, how the
    # program can be started before it is known what it shall do, and what to say farewell with.
    "dir=", "env=", "code=", "call=", "compile=", "wait", "brief", "proof=", "load=", "start=",
    "farewell=",
]  # fmt: skip


class Command(NamedTuple):
    """A command line, read."""

    task: runner.Task
    path: str
    code: str | None
    report: str | None
    target: str | None
    home: Home
    wait: bool = False
    brief: bool = False
    proof: str | None = None
    load: str | None = None
    start: str | None = None
    farewell: str | None = None


def main(words: list[str] | None = None, home: Home | None = None) -> NoReturn:
    """Run what the command line says, and end the process as the module ended."""
    home = home or Home()
    gc.disable()  # the process is gone before it would pay
    try:
        command = _command(sys.argv[1:] if words is None else words, home)
        if command.wait:
            command = _awaited(command, home)
    except (getopt.GetoptError, ValueError) as error:
        sys.stderr.write(f"atoll-wasm: {error}\n{USAGE}")
        sys.exit(_USAGE_CODE)
    # Nothing runs Python's handlers while a module runs; a signal must end it all the same.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if command.target is not None:
        _compile(command, command.target)
    _run(command)


def _awaited(command: Command, home: Home) -> Command:
    """What is asked for of a worker that waits, unless what has started here does it at once."""
    os.environ["TOKIO_WORKER_THREADS"] = "1"  # of the engine: each must end before the process has
    if command.start is not None and type(home) is Home:
        return _command(_started(command, command.start, home), home)
    likely = waiting.Likely(command.task, command.code, command.load)
    words, opened = waiting.wait(likely, home)
    asked = _command(words, home)
    if asked.task.roots != command.task.roots:
        opened = None
    return asked._replace(task=asked.task._replace(opened=opened))


def _started(command: Command, kind: str, home: Home) -> list[str]:
    """Start the program now. Ends the process with it, if it does what is asked for.

    Else the words of that, all but run.
    """
    one, here = started.Started(kind, command.task), home.cwd
    words, tellers = list[str](), list[Callable[[Report], int]]()

    def listen() -> None:
        words.extend(waiting.accepted(home))
        asked = _command(words, home)
        alike = home.cwd == here and asked.code == command.code
        tellers.append(_teller(asked))
        one.go(one.order(asked.task) if alike else None)

    def tell(report: Report) -> None:
        if one.ended():
            os._exit(tellers[0](report))

    thread = started.listening(listen)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    runner.run(one.task(), lambda: engine.trusted(str(command.code), fuel=False), tell)
    thread.join()
    return words


def _command(words: list[str], home: Home) -> Command:
    pairs, rest = _read(words)
    given = dict(pairs)
    if "-h" in given or "--help" in given:
        sys.stdout.write(USAGE)
        sys.exit(0)
    if not rest:
        raise ValueError("MODULE is missing")
    root = given.get("--root", _WORKSPACE)
    roots = [(root, "/", True)]
    if root.startswith("/") and root != "/":
        roots.append((root, root, True))
    roots += [_directory(value) for name, value in pairs if name == "--dir"]
    roots = [(home.named(place), name, writable) for place, name, writable in roots]
    environment = given.get("--env")
    task = runner.Task(
        argv=rest,
        env=dict(os.environ) if environment is None else json.loads(environment),
        roots=roots,
        invoke=given.get("--invoke"),
        memory_bytes=_number(given, "--memory-mb") * runner.MIB,
        fuel=_number(given, "--fuel"),
        wall_s=_seconds(given, "--wall-s"),
        call=_call(given.get("--call", ""), home),
    )
    code, report, target = (given.get(name) for name in ("--code", "--report", "--compile"))
    code = None if code is None else home.named(code)
    load = home.named(given["--load"]) if "--load" in given else None
    wait, brief, proof = "--wait" in given, "--brief" in given, given.get("--proof")
    start, farewell = given.get("--start"), given.get("--farewell")
    return Command(
        task, rest[0], code, report, target, home, wait, brief, proof, load, start, farewell
    )


def _read(words: list[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """As getopt does it, which takes longer than all else here for what is written out in full."""
    pairs, at = list[tuple[str, str]](), 0
    while at < len(words) and words[at][:2] == "--":
        word = words[at][2:]
        if not word:
            return pairs, words[at + 1 :]
        if word in _OPTIONS:
            pairs.append((f"--{word}", ""))
            at += 1
        elif f"{word}=" in _OPTIONS and at + 1 < len(words):
            pairs.append((f"--{word}", words[at + 1]))
            at += 2
        else:
            return getopt.getopt(words, "h", _OPTIONS)
    if at < len(words) and words[at][:1] == "-" and words[at] != "-":
        return getopt.getopt(words, "h", _OPTIONS)
    return pairs, words[at:]


def _call(name: str, home: Home) -> Callable[[runner.Task, Any, Any], Report] | None:
    if not name:
        return None
    if name != "quickjs":
        raise ValueError(f"there is no way to call {name!r}")
    here = home.named(quickjs.HERE)
    return lambda task, store, instance: quickjs.call(here, task.argv, store, instance)


def _directory(value: str) -> tuple[str, str, bool]:
    host, mark, name = value.partition("::")
    if not mark:
        raise ValueError("--dir must be HOST::NAME")
    return host, name.removesuffix(":ro"), not name.endswith(":ro")


def _compile(command: Command, target: str) -> NoReturn:
    """Write the compiled code to a file, or why not to the report."""
    status = 0
    try:
        data = engine.read(command.home.named(command.path))
        _write(command.home.made(target), engine.artefact(data, fuel=command.task.fuel > 0))
    except Refused as refused:
        status = FAILED_CODE
        if command.report is not None:
            _write(command.home.made(command.report), refused.report.json())
    os._exit(status)


def _run(command: Command) -> NoReturn:
    task = command.task

    def load() -> Any:
        if command.code is not None and command.proof is not None:
            place = command.home.named(command.path)
            return proved.load(place, command.code, command.proof, fuel=task.fuel > 0)
        if command.code is not None:
            return engine.trusted(command.code, fuel=task.fuel > 0)
        return engine.compiled(engine.read(command.home.named(command.path)), fuel=task.fuel > 0)

    ended: list[int] = []
    tell = _teller(command)
    runner.run(task, load, lambda report: ended.append(tell(report)))
    os._exit(ended[0])


def _teller(command: Command) -> Callable[[Report], int]:
    """Says how it ended; the exit status for that."""
    task, target = command.task, command.report

    def tell(report: Report) -> int:
        if target is not None:
            if not command.brief or task.invoke or report.status == FAILED_CODE:
                _write(command.home.made(target), report.json())
        elif report.code is None:
            sys.stderr.write(f"atoll-wasm: {report.reason}: {report.detail}\n")
        if task.invoke and report.results and target is None:
            sys.stdout.write("".join(f"{value}\n" for value in report.results))
        sys.stdout.flush()
        sys.stderr.flush()
        if command.farewell is not None and report.code == 0 and not task.invoke:
            _farewell(command.farewell)
        return report.status

    return tell


def _farewell(nonce: str) -> None:
    """Say that it has ended well: its memory is taken down before anybody hears of its end.

    Behind all that the module has written, which cannot know the nonce. Of another end there may be
    a reason that the host knows better.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    if used.ru_maxrss > _LIGHT_KIB:
        return  # its memory is still taken, for longer, when the next module asks for some
    micros = int((used.ru_utime + used.ru_stime) * 1e6)
    line = f"\0atoll:{nonce}:{micros}:{used.ru_maxrss}\n".encode()
    with contextlib.suppress(OSError):
        os.write(1, line)


def _write(target: str, data: bytes) -> None:
    """Whole or not at all; the module may have filled the disk."""
    draft = f"{target}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)
        with open(os.open(draft, flags, 0o644), "wb") as file:
            file.write(data)
        os.replace(draft, target)
    except OSError as error:
        sys.stderr.write(f"atoll-wasm: {target} cannot be written: {error.strerror}\n")


def _number(given: dict[str, str], name: str) -> int:
    word = given.get(name, "0")
    if not word.isascii() or not word.isdecimal() or len(word) > 18:
        raise ValueError(f"{name} must be a whole number")
    return int(word)


def _seconds(given: dict[str, str], name: str) -> float:
    word = given.get(name, "0")
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e6:
        raise ValueError(f"{name} must be seconds")
    return value
