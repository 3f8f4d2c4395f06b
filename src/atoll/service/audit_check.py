"""Whether an audit log is whole: in the store, or in files of JSON lines."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from atoll.core.chain import GENESIS, Check, Fault, Head, digest
from atoll.core.errors import InvalidRequest
from atoll.core.records import Event
from atoll.core.store import Store
from atoll.service.journal import link

PAGE = 2000
_LINE_MAX = 4 * 1024 * 1024
_WORDS = ("tenant", "actor", "action", "outcome", "previous", "hash", "follows", "link")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many events were right, up to which; what is wrong first, and what else to know."""

    count: int
    head: Head
    fault: Fault | None = None
    where: str = ""
    notes: tuple[str, ...] = ()


async def check_store(store: Store, heads: Sequence[Head]) -> Verdict:
    """Go through all events, up to the end that was noted before."""
    check = Check(await store.events_head(), *heads)
    after = -1
    while check.fault is None:
        page = await store.list_events(after_seq=after, limit=PAGE)
        for event in page:
            check.see(event)
        if len(page) < PAGE:
            break
        after = page[-1].seq
    check.finish()
    notes = list[str]()
    if check.fault is None and check.first is not None and check.first.seq > 1:
        notes.append(f"Events 1 to {check.first.seq - 1} were pruned.")
        notes += [
            f"The head {head.seq} is older than that: it could not be compared."
            for head in heads
            if head.seq < check.first.seq
        ]
    return Verdict(check.count, check.head, check.fault, notes=tuple(notes))


def check_files(files: Iterable[Path], heads: Sequence[Head]) -> Verdict:
    """Go through files, the oldest first, as one. They need not begin with the first event."""
    return _Lines(heads).verdict(files)


class _Lines:
    """What was seen so far."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self._heads = {head.seq: head.hash for head in heads if head.seq}
        self._met = set[int]()
        self._last: Event | None = None
        self._link: str | None = None
        self._count = 0
        self._notes = list[str]()

    def verdict(self, files: Iterable[Path]) -> Verdict:
        """Read them to the first line that is wrong."""
        for path in files:
            with path.open("rb") as lines:
                number = 0
                while raw := lines.readline(_LINE_MAX):
                    number += 1
                    fault = self._see(raw, first=number == 1)
                    if fault is not None:
                        return self._so_far(fault, f"{path}, line {number}")
        last = 0 if self._last is None else self._last.seq
        beyond = max(self._heads, default=0)
        if beyond > last:
            what = f"is missing, and all up to {beyond}: the end was cut off"
            return self._so_far(Fault(last + 1, what), "")
        self._notes += [
            f"The head {seq} is of an event that is not in it: it could not be compared."
            for seq in sorted(self._heads.keys() - self._met)
        ]
        return self._so_far(None, "")

    def _so_far(self, fault: Fault | None, where: str) -> Verdict:
        last = self._last
        head = Head() if last is None else Head(last.seq, last.hash)
        return Verdict(self._count, head, fault, where, tuple(self._notes))

    def _see(self, raw: bytes, *, first: bool) -> Fault | None:
        last = self._last
        before = 0 if last is None else last.seq
        if not raw.endswith(b"\n"):
            return Fault(before + 1, "is cut short")
        read = _event(raw)
        if read is None:
            return Fault(before + 1, "is no event")
        event, follows, mine = read
        if digest(event) != event.hash:
            return Fault(event.seq, "was changed: its hash is of something else")
        if last is not None and event.seq <= last.seq:
            return Fault(event.seq, f"is out of order: it comes behind event {last.seq}")
        begins = first and follows == GENESIS
        if mine != link(follows, event.hash) or not (begins or follows == (self._link or follows)):
            what = "does not follow the line before: one was removed, inserted or moved"
            return Fault(before + 1 if last is not None else event.seq, what)
        if last is not None and event.seq == last.seq + 1 and event.previous != last.hash:
            return Fault(last.seq, f"was replaced: event {event.seq} follows another")
        known = self._heads.get(event.seq)
        if known is not None and known != event.hash:
            return Fault(event.seq, "is not the one that the head names: the file was rewritten")
        self._note(event, last, begins=begins)
        self._met.add(event.seq)
        self._last, self._link = event, mine
        self._count += 1
        return None

    def _note(self, event: Event, last: Event | None, *, begins: bool) -> None:
        if last is None and not begins:
            self._notes.append(f"It begins with event {event.seq}; what was before is elsewhere.")
        elif begins and last is not None:
            self._notes.append(f"A new file was begun with event {event.seq}.")
        if last is not None and event.seq > last.seq + 1:
            self._notes.append(
                f"Events {last.seq + 1} to {event.seq - 1} are not in it: another server's, "
                "or the file could not be written then."
            )


def _event(raw: bytes) -> tuple[Event, str, str] | None:
    """An event, what it follows and its link; None for what is none."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    said = cast("dict[str, Any]", value)
    detail, sandbox_id = said.get("detail"), said.get("sandbox_id")
    if (
        type(said.get("seq")) is not int
        or type(said.get("at")) not in {int, float}
        or any(not isinstance(said.get(name), str) for name in _WORDS)
        or not isinstance(detail, dict)
        or not (sandbox_id is None or isinstance(sandbox_id, str))
    ):
        return None
    event = Event(
        at=float(said["at"]),
        tenant=said["tenant"],
        actor=said["actor"],
        action=said["action"],
        outcome=said["outcome"],
        sandbox_id=sandbox_id,
        detail=cast("dict[str, str]", detail),
        seq=said["seq"],
        previous=said["previous"],
        hash=said["hash"],
    )
    return event, said["follows"], said["link"]


def heads_of(texts: Sequence[str]) -> list[Head]:
    """Heads as the command line has them. `InvalidRequest`."""
    heads = [Head.parse(text) for text in texts]
    if len({head.seq for head in heads}) < len(heads):
        raise InvalidRequest("Two heads are of the same event.")
    return heads
