"""The table in core/states, driven in any order: what the server says is what the model says."""

import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)
from hypothesis.strategies import booleans, sampled_from

from atoll.backends.fake import FakeBackend
from atoll.core.errors import Conflict, Gone
from atoll.core.model import Exit
from atoll.core.records import SandboxRecord
from atoll.core.states import TERMINAL, TRANSITIONS, State
from atoll.service.requests import ChangeSandbox
from tests.service.island import ALICE, Island, Script, SetClock, argv, eventually, island

pytestmark = [
    pytest.mark.blocking("a portal runs the loop in another thread"),
    pytest.mark.timeout(120),
]

RUNNING, STOPPED, DESTROYED, LOST = State.RUNNING, State.STOPPED, State.DESTROYED, State.LOST


class Lives(RuleBasedStateMachine):
    """`model` holds the state that each sandbox must be in; `files` what it must contain."""

    boxes = Bundle("boxes")

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.portal: BlockingPortal = self.stack.enter_context(start_blocking_portal())
        self.data_dir = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.backend = FakeBackend()
        self.clock = SetClock()
        self.script = Script(self.backend, "serve")
        self.running: AbstractContextManager[Island] | None = None
        self.model: dict[str, State] = {}
        self.leases: dict[str, float] = {}
        self.files: dict[str, bytes] = {}
        self.numbers: dict[str, int] = {}
        self.exits: dict[tuple[str, int], Exit | None] = {}

    @initialize()
    def open_world(self) -> None:
        self.running = self.portal.wrap_async_context_manager(
            island(self.data_dir, self.backend, self.clock)
        )
        self.world = self.running.__enter__()

    def teardown(self) -> None:
        if self.running is not None:
            self.running.__exit__(None, None, None)
        self.stack.close()

    def call(self, function: Callable[..., Awaitable[Any]], *args: object, **about: object) -> Any:
        async def main() -> Any:
            return await function(*args, **about)

        return self.portal.call(main)

    def usable(self, box: str) -> bool:
        return self.model[box] not in TERMINAL

    def attempt(
        self, box: str, function: Callable[..., Awaitable[Any]], *args: object, **about: object
    ) -> Any:
        """Do it; an ended sandbox must answer `Gone`."""
        try:
            result = self.call(function, ALICE, box, *args, **about)
        except Gone:
            assert not self.usable(box)
            return None
        assert self.usable(box)
        return result

    def used(self, box: str) -> None:
        if self.usable(box):
            self.model[box] = RUNNING

    @rule(target=boxes, leased=booleans())
    def create(self, *, leased: bool) -> str:
        made: SandboxRecord = self.call(
            self.world.create, idle_timeout_s=50.0, lifetime_s=200.0 if leased else None
        )
        self.model[made.id] = made.state
        if leased:
            self.leases[made.id] = self.clock.at + 200.0
        return made.id

    @rule(box=boxes)
    def start(self, box: str) -> None:
        self.attempt(box, self.world.sandboxes.start)
        self.used(box)

    @rule(box=boxes)
    def stop(self, box: str) -> None:
        self.attempt(box, self.world.sandboxes.stop)
        if self.usable(box):
            self.model[box] = STOPPED

    @rule(box=boxes)
    def destroy(self, box: str) -> None:
        record = self.call(self.world.sandboxes.destroy, ALICE, box)
        if self.usable(box):
            self.model[box] = DESTROYED
        assert record.state is self.model[box]

    @rule(box=boxes, content=sampled_from([b"a", b"bb"]))
    def write(self, box: str, content: bytes) -> None:
        if self.attempt(box, self.world.files.write, "f", content) is not None:
            self.files[box] = content
        self.used(box)

    @rule(box=boxes)
    def read(self, box: str) -> None:
        if box in self.files and self.usable(box):

            async def read() -> bytes:
                return b"".join([d async for d in self.world.files.read(ALICE, box, "f")])

            assert self.call(read) == self.files[box]
            self.used(box)

    @rule(box=boxes)
    def run(self, box: str) -> None:
        result = self.attempt(box, self.world.processes.run, argv("echo", "x"))
        if result is not None:
            assert result.stdout == b"x\n"
            self.numbers[box] = self.numbers.get(box, 0) + 1
        self.used(box)

    @rule(box=boxes)
    def serve(self, box: str) -> None:
        started = self.attempt(box, self.world.processes.start, argv("serve"))
        if started is not None:
            self.numbers[box] = self.numbers.get(box, 0) + 1
            assert started.number == self.numbers[box]
        self.used(box)

    @rule(box=boxes, lifetime=sampled_from([None, 60.0]))
    def lease(self, box: str, lifetime: float | None) -> None:
        change = ChangeSandbox(lifetime_s=lifetime)
        if self.attempt(box, self.world.sandboxes.update, change) is not None:
            self.leases.pop(box, None)
            if lifetime is not None:
                self.leases[box] = self.clock.at + lifetime

    @rule(target=boxes, box=consumes(boxes))
    def fork(self, box: str) -> str:
        try:
            fork = self.attempt(box, self.world.sandboxes.fork)
        except Conflict:
            assert self.busy(box)
            return box
        if fork is None:
            return box
        self.model[box] = STOPPED
        self.model[fork.id] = RUNNING
        if fork.expires_at is not None:
            self.leases[fork.id] = fork.expires_at
        if box in self.files:
            self.files[fork.id] = self.files[box]
        return str(fork.id)

    @rule(box=boxes, why=sampled_from(["memory", "crash"]))
    def die(self, box: str, why: str) -> None:
        if self.model[box] is RUNNING:

            async def die() -> None:
                self.backend.die(box, why)

                async def closed() -> bool:
                    return not self.world.keeper.is_open(box)

                await eventually(closed)

            self.call(die)
            self.model[box] = STOPPED

    @rule(box=boxes)
    def lose(self, box: str) -> None:
        if self.model[box] is STOPPED:
            self.call(self.backend.destroy, box)
            self.call(self.world.janitor.reconcile)
            self.model[box] = LOST

    @rule(seconds=sampled_from([10.0, 49.0, 100.0]))
    def wait(self, seconds: float) -> None:
        before = {r.id: r for r in self.call(self.world.sandboxes.list, ALICE)}
        self.clock.at += seconds
        self.call(self.world.janitor.expire)
        for box, record in before.items():
            if self.leases.get(box, self.clock.at + 1) <= self.clock.at:
                self.model[box] = DESTROYED
            elif record.state is RUNNING and record.last_used_at + 50.0 <= self.clock.at:
                self.model[box] = STOPPED

    @rule()
    def reconcile(self) -> None:
        self.call(self.world.janitor.reconcile)

    @rule()
    def restart(self) -> None:
        assert self.running is not None
        self.running.__exit__(None, None, None)
        for box, state in self.model.items():
            if state is RUNNING:
                self.model[box] = STOPPED
        self.open_world()

    def busy(self, box: str) -> bool:
        held = self.world.keeper.peek(box)
        return held is not None and bool(held.processes)

    @invariant()
    def agree(self) -> None:
        if self.running is None:
            return
        self.call(self.world.check)
        stored = {r.id: r for r in self.call(self.world.stored)}
        assert {box: r.state for box, r in stored.items()} == self.model
        for box, record in stored.items():
            assert record.expires_at == self.leases.get(box)
            processes = self.call(self.world.processes.list, ALICE, box)
            assert [p.number for p in processes] == list(range(1, self.numbers.get(box, 0) + 1))
            for process in processes:
                known = self.exits.setdefault((box, process.number), process.exit)
                if known is not None:
                    assert process.exit == known, "an exit never changes"
                self.exits[box, process.number] = process.exit


Lives.TestCase.settings = settings(
    max_examples=20,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


TestLives = Lives.TestCase


def test_no_state_is_a_dead_end_but_the_terminal_ones() -> None:
    for state in State:
        assert bool(TRANSITIONS[state]) == (state not in TERMINAL)
