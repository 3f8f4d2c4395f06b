"""`atoll-wasm`: run a WebAssembly module as a program of a sandbox."""

import getopt
import os
import sys
from typing import Any, NoReturn

from atoll.guest.wasm import engine, runner
from atoll.guest.wasm.report import Report

USAGE = """\
usage: atoll-wasm [--memory-mb N] [--fuel N] [--wall-s S] [--invoke FUNCTION] [--root DIR]
                  [--report FILE] MODULE [ARGS...]

Runs MODULE (binary, or the text form) with DIR (default /workspace) as its `/`. With --invoke,
ARGS are the arguments of that exported function, and its results are printed, one a line.
"""
_WORKSPACE = "/workspace"
_USAGE_CODE = 2


def main(words: list[str] | None = None) -> NoReturn:
    """Run what the command line says, and end the process as the module ended."""
    try:
        options, rest = getopt.getopt(
            sys.argv[1:] if words is None else words,
            "h",
            ["help", "memory-mb=", "fuel=", "wall-s=", "invoke=", "root=", "report="],
        )
        given = dict(options)
        if "-h" in given or "--help" in given:
            sys.stdout.write(USAGE)
            sys.exit(0)
        if not rest:
            raise ValueError("MODULE is missing")
        root = given.get("--root", _WORKSPACE)
        task = runner.Task(
            argv=rest,
            env=dict(os.environ),
            roots=[(root, "/"), *([(root, root)] if root.startswith("/") and root != "/" else [])],
            invoke=given.get("--invoke"),
            memory_bytes=_number(given, "--memory-mb") * runner.MIB,
            fuel=_number(given, "--fuel"),
            wall_s=_seconds(given, "--wall-s"),
        )
    except (getopt.GetoptError, ValueError) as error:
        sys.stderr.write(f"atoll-wasm: {error}\n{USAGE}")
        sys.exit(_USAGE_CODE)
    _run(task, rest[0], given.get("--report"))


def _run(task: runner.Task, path: str, target: str | None) -> NoReturn:
    def load() -> Any:
        return engine.compiled(engine.read(path), fuel=task.fuel > 0)

    def tell(report: Report) -> None:
        if target is not None:
            _write(target, report.json())
        elif report.code is None:
            sys.stderr.write(f"atoll-wasm: {report.reason}: {report.detail}\n")
        if task.invoke and report.results and target is None:
            sys.stdout.write("".join(f"{value}\n" for value in report.results))
        sys.stdout.flush()
        sys.stderr.flush()
        ended.append(report.status)

    ended: list[int] = []
    runner.run(task, load, tell)
    os._exit(ended[0])


def _write(target: str, line: bytes) -> None:
    """Whole or not at all; the module may have filled the disk."""
    draft = f"{target}.part"
    try:
        with open(draft, "wb") as file:
            file.write(line)
        os.replace(draft, target)
    except OSError as error:
        sys.stderr.write(f"atoll-wasm: no report: {error.strerror}\n")


def _number(given: dict[str, str], name: str) -> int:
    word = given.get(name, "0")
    if not word.isascii() or not word.isdecimal() or len(word) > 19:  # noqa: PLR2004 (64 bits)
        raise ValueError(f"{name} must be a whole number")
    return int(word)


def _seconds(given: dict[str, str], name: str) -> float:
    word = given.get(name, "0")
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1e6:  # noqa: PLR2004 (eleven days; and no NaN)
        raise ValueError(f"{name} must be seconds")
    return value
