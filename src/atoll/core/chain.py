"""The audit log's chain: each event carries the hash of the one before it.

Who changes, removes, inserts or moves an event breaks the chain there. Who may write everything
can compute it anew from there on; against that, and against a tail that is cut off, stands a head
that was noted elsewhere. What hashes mean never changes without a new `_FORM`.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from atoll.core.errors import InvalidRequest
from atoll.core.records import Event

GENESIS = "0" * 64
PRUNE = "audit.prune"
_FORM = 1
_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Head:
    """The last event of a chain, or any that it is known to hold."""

    seq: int = 0
    hash: str = GENESIS

    @classmethod
    def parse(cls, text: str) -> "Head":
        """As it is shown: `SEQ:HASH`."""
        match = _HEAD.fullmatch(text.strip())
        if match is None:
            raise InvalidRequest("A head is SEQ:HASH, as `atoll audit head` prints it.")
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True, slots=True)
class Fault:
    """The first event that is wrong, and a sentence about it."""

    seq: int
    what: str


def digest(event: Event) -> str:
    """The hash of all that an event says, its number and the hash before it included."""
    said = [
        _FORM,
        event.seq,
        float(event.at),
        event.tenant,
        event.actor,
        event.action,
        event.outcome,
        event.sandbox_id,
        dict(event.detail),
        event.previous,
    ]
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def extend(head: Head, events: Iterable[Event]) -> list[Event]:
    """The events behind `head`, with their numbers and hashes."""
    sealed: list[Event] = []
    seq, previous = head.seq, head.hash
    for event in events:
        seq += 1
        event = replace(event, seq=seq, previous=previous, hash="")  # noqa: PLW2901
        event = replace(event, hash=digest(event))  # noqa: PLW2901
        previous = event.hash
        sealed.append(event)
    return sealed


class Check:
    """Is shown every event in the order of the numbers; `fault` is the first that is wrong.

    `expected` heads must be met on the way. A chain that does not begin with event 1 is whole only
    if one of its own events says that what came before was pruned.
    """

    def __init__(self, *expected: Head) -> None:
        self.fault: Fault | None = None
        self.first: Event | None = None
        self.last: Event | None = None
        self.count = 0
        self._expected = {head.seq: head.hash for head in expected if head.seq}
        self._pruned = Head()
        self._before_last = GENESIS

    def see(self, event: Event) -> None:
        """The next event."""
        if self.fault is not None:
            return
        what = self._wrong(event)
        if what is not None:
            self.fault = what
            return
        if self.first is None:
            self.first = event
        self._before_last = event.previous
        self.last = event
        self.count += 1
        if event.action == PRUNE:
            self._note_pruned(event.detail)

    def finish(self) -> Fault | None:
        """After the last event: whether something is missing at either end."""
        if self.fault is None:
            self.fault = self._wrong_end()
        return self.fault

    @property
    def head(self) -> Head:
        """The last event that was right."""
        return Head() if self.last is None else Head(self.last.seq, self.last.hash)

    def _wrong(self, event: Event) -> Fault | None:
        last = self.last
        if last is not None and event.seq > last.seq + 1:
            return Fault(last.seq + 1, f"is missing: event {event.seq} comes next")
        if last is not None and event.seq <= last.seq:
            return Fault(event.seq, f"is out of order: it comes behind event {last.seq}")
        if digest(event) != event.hash:
            if last is not None and self._fits_in_place_of(last, event):
                return Fault(last.seq, "was inserted: the next event was written without it")
            return Fault(event.seq, "was changed: its hash is of something else")
        if last is not None and event.previous != last.hash:
            return Fault(last.seq, f"was replaced: event {event.seq} follows another")
        if event.seq == 1 and event.previous != GENESIS:
            return Fault(event.seq, "was replaced: the first event follows no other")
        known = self._expected.get(event.seq)
        if known is not None and known != event.hash:
            return Fault(event.seq, "is not the one that the head names: the chain was rewritten")
        return None

    def _fits_in_place_of(self, last: Event, event: Event) -> bool:
        """Whether it was the next one before `last` came between."""
        shifted = replace(event, seq=last.seq)
        follows = event.previous == self._before_last
        return follows and event.hash != last.hash and digest(shifted) == event.hash

    def _wrong_end(self) -> Fault | None:
        first, last = self.first, self.last
        beyond = max(self._expected, default=0)
        if first is None or last is None:
            return Fault(1, f"is missing, and all up to {beyond}") if beyond else None
        if first.seq > 1 and self._pruned != Head(first.seq - 1, first.previous):
            return Fault(
                max(1, self._pruned.seq + 1),
                f"is missing: the chain begins with event {first.seq}, "
                "and no pruning up to there is recorded",
            )
        if last.seq < beyond:
            return Fault(last.seq + 1, f"is missing, and all up to {beyond}: the end was cut off")
        return None

    def _note_pruned(self, detail: Mapping[str, str]) -> None:
        through = detail.get("through", "")
        if through.isdigit() and len(through) <= 18:  # noqa: PLR2004 - of 64 bits
            self._pruned = Head(int(through), detail.get("hash", ""))
