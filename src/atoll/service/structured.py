"""Programs that give back a JSON value besides their output: what is put before them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from secrets import token_hex

from atoll.core.errors import InvalidRequest
from atoll.core.model import ProcessSpec
from atoll.service.preludes import DENO, NODE, PYTHON, Preludes
from atoll.service.reports import Report, Reported, of_stderr

STRUCTURED = "structured"  # a capability of backends
VARIABLE = "ATOLL_RESULT"
_FAILED = 1


def _python(argv: tuple[str, ...], path: str) -> tuple[str, ...]:
    return (argv[0], path, *argv[1:])


def _node(argv: tuple[str, ...], path: str) -> tuple[str, ...]:
    return (argv[0], "--require", path, *argv[1:])


def _deno(argv: tuple[str, ...], path: str) -> tuple[str, ...]:
    at = argv.index("run") + 1
    return (*argv[:at], f"--preload={path}", *argv[at:])


_BEFORE: Mapping[str, tuple[str, Callable[[tuple[str, ...], str], tuple[str, ...]]]] = {
    "python": (PYTHON, _python),
    "javascript": (NODE, _node),
    "typescript": (DENO, _deno),
}


def structured(
    spec: ProcessSpec, language: str | None, image: str, preludes: Preludes
) -> ProcessSpec:
    """The same program with `result`; of a language that has it, by its own name.

    `InvalidRequest` for another, and for a command.
    """
    if language is None or language not in _BEFORE:
        raise InvalidRequest(
            f"structured needs a language that can give back a value: {', '.join(_BEFORE)}.",
            field="structured",
        )
    name, put = _BEFORE[language]
    nonce = token_hex(16)
    path, files = preludes.before(name, image, nonce)
    return replace(
        spec,
        argv=put(spec.argv, path),
        env={**spec.env, VARIABLE: nonce},
        files={**spec.files, **files},
    )


def report_of(spec: ProcessSpec, *, hold: bool = True) -> Report | None:
    """What collects its output; None when it gives nothing back."""
    nonce = spec.env.get(VARIABLE)
    return None if nonce is None else Report(nonce, hold=hold)


def reported(report: Report, code: int | None, stderr: bytes) -> Reported:
    """What it has given back; the error of one that could not begin, as its interpreter says."""
    said = report.reported
    if said.code is None and code == _FAILED:
        return Reported(error=of_stderr(stderr.decode("utf-8", "replace")))
    return said
