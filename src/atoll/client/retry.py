"""Whether to try again, and when: a decision, no waiting."""

import random
from dataclasses import dataclass, field

from atoll.client.errors import AtollError, Problem, Unreachable

_LONGEST_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `attempts` tries; waits of about `first_s`, doubled each time, at most 30 s."""

    attempts: int = 4
    first_s: float = 0.1
    spread: random.Random = field(default_factory=random.Random)

    def wait_s(self, failure: AtollError, attempt: int, *, repeatable: bool) -> float | None:
        """Seconds to wait before another try, or None when the failure is final.

        `attempt` counts from 1. `repeatable` says that doing it twice is the same as once; what
        is not is tried again only when the server surely did not do it.
        """
        if attempt >= self.attempts or not failure.retryable:
            return None
        if isinstance(failure, Unreachable) and failure.sent and not repeatable:
            return None
        wait = self.first_s * 2.0 ** (attempt - 1) * self.spread.uniform(0.75, 1.25)
        if isinstance(failure, Problem) and failure.retry_after_s is not None:
            wait = max(wait, failure.retry_after_s)
        return min(wait, _LONGEST_WAIT_S)
