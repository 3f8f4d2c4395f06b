"""How a guest's end becomes the exit code of `atoll`."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from atoll.client import Event, Exit

FAILED = 125
"""Atoll could not do it; the guest has said nothing."""
TIMED_OUT = 124
LIMITED = 137
SIGNALLED = 128


def exit_code(end: "Exit") -> int:
    """The program's own code; 124 out of time, 128 + n by a signal, 137 at another limit."""
    if end.exit_code is not None:
        return end.exit_code
    if end.reason == "signal" and end.signal is not None:
        return SIGNALLED + end.signal
    if end.reason in {"wall_time", "cpu_time"}:
        return TIMED_OUT
    return FAILED if end.reason == "unknown" else LIMITED


def explain(end: "Exit") -> None:
    """Say on stderr what the exit code cannot: which limit, or that output was cut."""
    if end.reason not in {"exited", "signal"}:
        sys.stderr.write(f"atoll: the program was ended: {end.reason}\n")
    elif end.reason == "signal":
        sys.stderr.write(f"atoll: the program was ended by signal {end.signal}\n")
    if end.truncated:
        sys.stderr.write("atoll: its output was cut\n")


def relay(events: "Generator[Event, None]") -> "Exit | None":
    """Pass output on as it comes, byte for byte; the end, once there is one.

    When we are interrupted the connection is closed, and with it the program ends.
    """
    from contextlib import closing

    from atoll.client import Finished, Output

    with closing(events):
        for event in events:
            if isinstance(event, Output):
                target = sys.stderr if event.channel == "stderr" else sys.stdout
                target.buffer.write(event.data)
                target.buffer.flush()
            elif isinstance(event, Finished):
                explain(event.exit)
                return event.exit
    return None
