"""The life of a persistent sandbox, as one table of transitions.

    creating ──> running <──> stopped ──> archived ──> stopped, running
        │          │ ▲           │           │
        │          ▼ │           │           │
        │        paused          │           │
        └──────────┴──────┬──────┴───────────┘
                          ▼
                      destroyed          (terminal; the post-mortem stays)

`failed` is a sandbox that could not be made; `lost` one whose files vanished under us.
"""

from enum import StrEnum

from atoll.core.errors import Conflict, Gone


class State(StrEnum):
    """Where a sandbox is in its life."""

    CREATING = "creating"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    ARCHIVED = "archived"
    DESTROYED = "destroyed"
    FAILED = "failed"
    LOST = "lost"


TERMINAL = frozenset({State.DESTROYED, State.FAILED, State.LOST})

TRANSITIONS: dict[State, frozenset[State]] = {
    State.CREATING: frozenset({State.RUNNING, State.STOPPED, State.DESTROYED, State.FAILED}),
    State.RUNNING: frozenset({State.PAUSED, State.STOPPED, State.DESTROYED, State.LOST}),
    State.PAUSED: frozenset({State.RUNNING, State.STOPPED, State.DESTROYED, State.LOST}),
    State.STOPPED: frozenset({State.RUNNING, State.ARCHIVED, State.DESTROYED, State.LOST}),
    State.ARCHIVED: frozenset({State.RUNNING, State.STOPPED, State.DESTROYED, State.LOST}),
    State.DESTROYED: frozenset(),
    State.FAILED: frozenset(),
    State.LOST: frozenset(),
}


def check(sandbox_id: str, now: State, then: State) -> None:
    """Raise unless the step is in the table: `Gone` from a terminal state, else `Conflict`."""
    if then in TRANSITIONS[now]:
        return
    if now in TERMINAL:
        raise Gone(f"Sandbox {sandbox_id} is {now}; its post-mortem says why.")
    raise Conflict(f"Sandbox {sandbox_id} is {now} and cannot become {then}.")
