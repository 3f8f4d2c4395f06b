"""What a probe has found."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Whether the thing is there: wholly, partly, or not."""

    YES = "yes"
    PARTLY = "partly"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what it is, its state, what follows for Atoll, and how to get it if it lacks."""

    what: str
    state: State
    detail: str
    consequence: str
    how: str = ""

    @property
    def there(self) -> bool:
        """Wholly there."""
        return self.state is State.YES
