"""Run a program twice, warm and by a real exec of python3, and compare all that can be seen."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from atoll.core.model import ProcessSpec
from atoll.core.ports import Backend
from atoll.testing.backend.running import fresh, run

NONE: Mapping[str, str] = {}


class Seen(NamedTuple):
    """What a caller sees of a program."""

    stdout: str
    stderr: str
    code: int | None
    signal: int | None


@dataclass(frozen=True)
class Snippet:
    """A program, beside the files it needs. `argv` follows `python3`; `hide` is replaced."""

    code: str | bytes = ""
    argv: tuple[str, ...] = ("main.py",)
    files: Mapping[str, str | bytes] = field(default_factory=dict[str, str | bytes])
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    stdin: bytes | None = None
    cwd: str = "/workspace"
    python: str = "python3"
    hide: str = r"0x[0-9a-f]{6,}"
    setup: str = ""


async def seen(backend: Backend, snippet: Snippet, *, warm: bool) -> Seen:
    """Run it in a new sandbox. `env` is no name that `guest.python` knows, so it execs."""
    files = {"main.py": snippet.code, **snippet.files}
    argv = (snippet.python, *snippet.argv)
    spec = ProcessSpec(
        argv if warm else ("env", *argv),
        files={name: _raw(content) for name, content in files.items()},
        env=snippet.env,
        cwd=snippet.cwd,
        wall_s=10.0,
    )
    async with backend.open(fresh()) as box:
        if snippet.setup:
            setup = ProcessSpec(("sh", "-c", snippet.setup), files=spec.files)
            assert (await run(box, setup)).exit.code == 0
        done = await run(box, spec, snippet.stdin)
    shown = [
        re.sub(snippet.hide, "", text.decode("utf-8", "backslashreplace"))
        for text in (done.stdout, done.stderr)
    ]
    return Seen(shown[0], shown[1], done.exit.code, done.exit.signal)


def _raw(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


async def same(backend: Backend, case: str | bytes | Snippet) -> Seen:
    """Assert that both ways look the same; what was seen."""
    snippet = case if isinstance(case, Snippet) else Snippet(case)
    warm = await seen(backend, snippet, warm=True)
    cold = await seen(backend, snippet, warm=False)
    unlike = [
        f"{name}: warm {mine!r}, cold {theirs!r}"
        for name, mine, theirs in zip(Seen._fields, warm, cold, strict=True)
        if mine != theirs
    ]
    assert not unlike, "\n".join(unlike)
    return warm
