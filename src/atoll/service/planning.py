"""From a request to the program that serves it. Checks everything, opens nothing."""

import math
import re
from dataclasses import dataclass, fields, replace

from atoll.core.errors import InvalidRequest, TooLarge
from atoll.core.model import MIB, Limits, ProcessSpec
from atoll.service.execution import Execution
from atoll.service.languages import Languages
from atoll.service.paths import LONGEST_PATH, relative_files, relative_path, text_bytes
from atoll.service.vault import apart

_KERNEL_WORD = 128 * 1024 - 1
_LIMITS = tuple(each.name for each in fields(Limits))
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that one execution may ask for. `command_bytes` is args and env together."""

    code_bytes: int = 4 * MIB
    files_bytes: int = 32 * MIB
    files: int = 1000
    stdin_bytes: int = 32 * MIB
    command_bytes: int = MIB
    wall_s: float = 3600.0
    output_bytes: int = 64 * MIB
    batch: int = 1000
    limits: Limits | None = None


def plan(
    request: Execution, languages: Languages, bounds: Bounds, backend: str | None = None
) -> ProcessSpec:
    """What to start. Raises `InvalidRequest` and `TooLarge` with the field, `Unavailable`."""
    _check_numbers(request, bounds)
    variables, hidden = apart(request.secrets)
    if variables:
        request = replace(request, env={**request.env, **variables})
    files = _files(request, bounds)
    if request.argv is not None:
        argv, env = _command(request, request.argv), request.env
    elif request.language is not None:
        language = languages.usable(request.language, image=request.image, backend=backend)
        entry, files = _entry(request, files, language.entry, bounds)
        argv = language.command(entry, request.args)
        env = {**language.env, **request.env} if language.env else request.env
    else:
        raise InvalidRequest("Name a language, or give a command.", field="language")
    if request.args or request.env or request.argv is not None:
        _check_command(request, argv, bounds)
    cpus = max(1.0, request.limits.cpus)
    return ProcessSpec(
        argv=argv,
        cwd=request.cwd,
        env=env,
        files={**files, **hidden} if hidden else files,
        secrets=tuple(request.secrets),
        stdin=bool(request.stdin),
        wall_s=request.wall_s,
        cpu_s=request.wall_s * cpus + 1.0 if request.cpu_s is None else request.cpu_s,
        output_bytes=request.output_bytes,
        function=request.function,
        fuel=request.fuel,
    )


def _command(request: Execution, argv: tuple[str, ...]) -> tuple[str, ...]:
    for name in ("language", "code", "entry"):
        if getattr(request, name) is not None:
            raise InvalidRequest(f"{name} and a command exclude each other.", field=name)
    if not argv or not argv[0]:
        raise InvalidRequest("The command is empty.", field="argv")
    return (*argv, *request.args)


def _entry(
    request: Execution, files: dict[str, bytes], usual: str, bounds: Bounds
) -> tuple[str, dict[str, bytes]]:
    """The file to run, and all the files with it among them."""
    if request.code is not None:
        if request.entry is not None:
            raise InvalidRequest(
                "Give either code, or files with the entry among them: code is the entry file.",
                field="entry",
            )
        if usual in files:
            raise InvalidRequest(
                f"files holds {usual!r}, which is where code is put; leave one of them out.",
                field="files",
            )
        return usual, {usual: _code(request.code, bounds), **files}
    if request.entry is not None:
        entry = relative_path(request.entry, "entry")
        if entry not in files:
            raise InvalidRequest(f"entry {entry!r} is not among files.", field="entry")
        return (f"./{entry}" if entry.startswith("-") else entry), files
    if usual in files:
        return usual, files
    if len(files) == 1:
        entry = next(iter(files))
        return (f"./{entry}" if entry.startswith("-") else entry), files
    if files:
        raise InvalidRequest(
            f"There are {len(files)} files and none is {usual!r}: say which is the entry.",
            field="entry",
        )
    raise InvalidRequest("Give code, or files with an entry.", field="code")


def _code(code: str, bounds: Bounds) -> bytes:
    if len(code) > bounds.code_bytes:
        raise TooLarge(
            f"code is over {bounds.code_bytes} bytes.", limit=bounds.code_bytes, field="code"
        )
    try:
        raw = code.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("code is not valid Unicode.", field="code") from None
    if len(raw) > bounds.code_bytes:
        raise TooLarge(
            f"code is over {bounds.code_bytes} bytes.", limit=bounds.code_bytes, field="code"
        )
    return raw


def _files(request: Execution, bounds: Bounds) -> dict[str, bytes]:
    if not request.files:
        return {}
    if len(request.files) > bounds.files:
        raise TooLarge(f"There are over {bounds.files} files.", limit=bounds.files, field="files")
    if sum(map(len, request.files.values())) > bounds.files_bytes:
        raise TooLarge(
            f"files are over {bounds.files_bytes} bytes together.",
            limit=bounds.files_bytes,
            field="files",
        )
    return relative_files(request.files)


def _check_command(request: Execution, argv: tuple[str, ...], bounds: Bounds) -> None:
    where = "argv" if request.argv is not None else "args"
    sizes = [len(text_bytes(word, where)) for word in argv]
    for name, value in request.env.items():
        if not _ENV_NAME.fullmatch(name):
            raise InvalidRequest(f"{name[:64]!a} cannot name a variable.", field="env")
        sizes.append(len(name) + 1 + len(text_bytes(value, "env")))
    if max(sizes) > _KERNEL_WORD:
        raise TooLarge(
            f"An argument or a variable is over {_KERNEL_WORD} bytes.",
            limit=_KERNEL_WORD,
            field=where,
        )
    if sum(sizes) + 9 * len(sizes) > bounds.command_bytes:
        raise TooLarge(
            f"Arguments and environment are over {bounds.command_bytes} bytes together.",
            limit=bounds.command_bytes,
            field=where,
        )


def _check_numbers(request: Execution, bounds: Bounds) -> None:
    _within("wall_s", request.wall_s, bounds.wall_s)
    _within("output_bytes", request.output_bytes, bounds.output_bytes)
    if request.cpu_s is not None:
        _within("cpu_s", request.cpu_s, math.inf)
    if request.stdin is not None and len(request.stdin) > bounds.stdin_bytes:
        raise TooLarge(
            f"stdin is over {bounds.stdin_bytes} bytes.", limit=bounds.stdin_bytes, field="stdin"
        )
    if not request.cwd or len(text_bytes(request.cwd, "cwd")) > LONGEST_PATH:
        raise InvalidRequest(f"cwd must have 1 to {LONGEST_PATH} bytes.", field="cwd")
    check_limits(request.limits, bounds.limits)


def check_limits(limits: Limits, most: Limits | None) -> None:
    """Refuse limits of zero or less, and those above `most`, naming the field."""
    for name in _LIMITS:
        highest = math.inf if most is None else getattr(most, name)
        _within(f"limits.{name}", getattr(limits, name), highest)


def _within(field: str, value: float, most: float) -> None:
    """Refuse what is not above zero and at most `most`; NaN and infinity are not."""
    if not 0 < value <= most or math.isinf(value):
        raise InvalidRequest(f"{field} must be above 0 and at most {most:g}.", field=field)
