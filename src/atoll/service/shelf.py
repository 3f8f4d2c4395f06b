"""Sandboxes of one kind: those that are ready, those that open, and who waits for one."""

from collections import deque
from dataclasses import dataclass, field

import anyio

from atoll.core.errors import AtollError
from atoll.core.model import Limits, NetworkPolicy, SandboxSpec
from atoll.core.ports import Backend, Sandbox

_FIRST_REST_S = 0.1
_LONGEST_REST_S = 30.0


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything about a sandbox for one execution but its id. Equal shapes are interchangeable."""

    image: str = "host"
    limits: Limits = field(default_factory=Limits)
    network: NetworkPolicy = field(default_factory=NetworkPolicy)
    preload: tuple[str, ...] = ()

    def spec(self, sandbox_id: str) -> SandboxSpec:
        """The specification of one sandbox of this shape."""
        return SandboxSpec(
            id=sandbox_id,
            image=self.image,
            limits=self.limits,
            network=self.network,
            preload=self.preload,
        )


class Held:
    """An open sandbox. A task holds it open until `scope` is cancelled."""

    __slots__ = ("dead", "dead_unused", "sandbox", "scope")

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.scope = anyio.CancelScope()
        self.dead = False
        self.dead_unused = False

    def end(self) -> None:
        """Let its task close it. Never waits."""
        self.scope.cancel()


class Waiter:
    """Somebody who needs a sandbox that is not there yet."""

    __slots__ = ("answered", "error", "held")

    def __init__(self) -> None:
        self.answered = anyio.Event()
        self.held: Held | None = None
        self.error: AtollError | None = None


class Shelf:
    """The state of one kind. Decides, never waits: the pool does what it says.

    `size` sandboxes are kept ready, at most `openings` opened ahead at once. Whoever waits is
    never held up by that bound, nor by the rest that a failing backend is given.
    """

    def __init__(self, backend: Backend, shape: Shape, *, size: int, openings: int) -> None:
        self.backend = backend
        self.shape = shape
        self.size = size
        self._openings = openings
        self.ready: deque[Held] = deque()
        self.waiting: deque[Waiter] = deque()
        self.opening = 0
        self.resting = False
        self._failures = 0

    @property
    def unused(self) -> bool:
        """Whether it may be forgotten."""
        return not (self.size or self.ready or self.waiting or self.opening)

    @property
    def low(self) -> bool:
        """Whether so few are ready that replacing them cannot wait until a lease ends."""
        return len(self.ready) * 2 <= self.size

    def wanted(self) -> int:
        """How many more to begin to open now."""
        for_waiters = len(self.waiting) - self.opening
        if self.resting:
            return max(for_waiters, 0)
        missing = self.size + len(self.waiting) - len(self.ready) - self.opening
        return max(for_waiters, min(missing, self._openings - self.opening), 0)

    def take(self) -> Held | None:
        """The one that has been ready longest, if any."""
        if not self.ready:
            return None
        self._failures = 0
        return self.ready.popleft()

    def offer(self, held: Held) -> None:
        """Give it to whoever has waited longest, or keep it ready, or end it when not needed."""
        if held.dead:
            held.end()
        elif self.waiting:
            self._failures = 0
            waiter = self.waiting.popleft()
            waiter.held = held
            waiter.answered.set()
        elif len(self.ready) < self.size:
            self.ready.append(held)
        else:
            held.end()

    def leave(self, waiter: Waiter) -> None:
        """Forget somebody who waits no more, and keep what was meant for them."""
        if waiter.held is not None:
            self.offer(waiter.held)
        elif waiter in self.waiting:
            self.waiting.remove(waiter)

    def died(self, held: Held) -> bool:
        """Note that it died; true when it was ready, so that nobody else will end it."""
        held.dead = True
        if held in self.ready:
            self.ready.remove(held)
            held.dead_unused = True
            self._failures += 1
        return held.dead_unused

    def failed(self, error: AtollError) -> None:
        """Note that an opening failed; whoever has waited longest is told."""
        self._failures += 1
        if self.waiting:
            waiter = self.waiting.popleft()
            waiter.error = error
            waiter.answered.set()

    def rest_s(self) -> float:
        """How long to open nothing ahead, after failures and no success since."""
        return min(_FIRST_REST_S * 2.0 ** min(self._failures - 1, 20), _LONGEST_REST_S)

    def close(self) -> None:
        """Keep nothing ready any more."""
        self.size = 0
        while self.ready:
            self.ready.popleft().end()
