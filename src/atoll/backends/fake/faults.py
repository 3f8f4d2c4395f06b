"""Faults on purpose: fail, hang, be slow or die when a named step is reached.

The steps are `open`, `open.files`, `open.ready`, `close`, `owned`, `destroy`, `start`, `wait`,
`output` (before each chunk), `stdin`, `signal`, `snapshot`, `drop_snapshot`, and
`files.<operation>` (`files.read`, `files.write`, …; `files.chunk` between two chunks of a read).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from anyio.lowlevel import checkpoint

OPEN_STEPS = ("open", "open.files", "open.ready")


@dataclass(slots=True)
class Hang:
    """A step that waits. `reached` is set when somebody is stuck in it."""

    reached: anyio.Event = field(default_factory=anyio.Event)
    released: anyio.Event = field(default_factory=anyio.Event)

    def release(self) -> None:
        """Let everybody through who waits at the step, and all who come later."""
        self.released.set()


@dataclass(slots=True)
class _Rule:
    error: BaseException | None = None
    hang: Hang | None = None
    delay_s: float = 0.0
    death: str | None = None
    after: int = 0
    times: int | None = None


class Faults:
    """The rules of one backend, by step. A step with no rule is one checkpoint."""

    def __init__(self) -> None:
        self._rules: dict[str, list[_Rule]] = {}
        self.reached: list[str] = []

    def fail(
        self, step: str, error: BaseException, *, after: int = 0, times: int | None = 1
    ) -> None:
        """Raise `error` at the step, `times` times (None: always), the first `after` go through."""
        self._add(step, _Rule(error=error, after=after, times=times))

    def hang(self, step: str, *, after: int = 0, times: int | None = None) -> Hang:
        """Wait at the step until released or cancelled."""
        hang = Hang()
        self._add(step, _Rule(hang=hang, after=after, times=times))
        return hang

    def delay(self, step: str, seconds: float, *, times: int | None = None) -> None:
        """Be slow at the step."""
        self._add(step, _Rule(delay_s=seconds, times=times))

    def die(self, step: str, why: str = "crash", *, after: int = 0) -> None:
        """Let the sandbox that reaches the step die on its own, once."""
        self._add(step, _Rule(death=why, after=after, times=1))

    def clear(self, step: str | None = None) -> None:
        """Forget the rules of a step, or all."""
        if step is None:
            self._rules.clear()
        else:
            self._rules.pop(step, None)

    async def at(self, step: str, kill: Callable[[str], None] | None = None) -> None:
        """Pass a step; `kill` ends the sandbox that passes it."""
        await checkpoint()
        self.reached.append(step)
        del self.reached[:-1000]
        for rule in tuple(self._rules.get(step, ())):
            if rule.after > 0:
                rule.after -= 1
                continue
            if rule.times is not None:
                if rule.times == 0:
                    continue
                rule.times -= 1
            await _apply(rule, kill)

    def _add(self, step: str, rule: _Rule) -> None:
        self._rules.setdefault(step, []).append(rule)


async def _apply(rule: _Rule, kill: Callable[[str], None] | None) -> None:
    if rule.delay_s:
        await anyio.sleep(rule.delay_s)
    if rule.hang is not None:
        rule.hang.reached.set()
        await rule.hang.released.wait()
    if rule.death is not None and kill is not None:
        kill(rule.death)
    if rule.error is not None:
        raise rule.error
