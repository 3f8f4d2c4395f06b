"""A backend in memory, with faults on purpose, for tests of what sits above the waist."""

from atoll.backends.fake.backend import FakeBackend
from atoll.backends.fake.faults import OPEN_STEPS, Faults, Hang
from atoll.backends.fake.program import Invocation, Program

__all__ = ["OPEN_STEPS", "FakeBackend", "Faults", "Hang", "Invocation", "Program"]
