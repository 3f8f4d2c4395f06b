"""Output as events: text wherever it is text, no character ever split, every byte accounted for."""

from atoll.core.model import Channel
from atoll.http.answers import Json, exact, text
from atoll.http.sse import event

_CONTINUATION = range(0x80, 0xC0)
_LONGEST_CHARACTER = 4


class OutputEvents:
    """Turns chunks into events whose ids are positions to resume from.

    A character that a chunk leaves unfinished is held back until its rest comes, and the id of the
    event before it counts only what was sent. When the rest does not come next (the other channel
    speaks, or the output ends) the bytes are sent as base64, as is whatever is not UTF-8.
    """

    def __init__(self, *, base64: bool = False) -> None:
        self._base64 = base64
        self._held = b""
        self._channel = Channel.STDOUT

    def chunk(self, channel: Channel, data: bytes, position_after: int, skipped: int = 0) -> bytes:
        """The events of a chunk that ends at that position; maybe none.

        `skipped` bytes before it are lost, which its event says.
        """
        events = b""
        if self._held and (channel is not self._channel or skipped):
            events = self.rest(position_after - len(data) - skipped)
        self._channel = channel
        data = self._held + data
        self._held = b"" if self._base64 else unfinished(data)
        whole = data[: len(data) - len(self._held)]
        if whole or skipped:
            events += self._event(channel, whole, position_after - len(self._held), skipped)
        return events

    def rest(self, position: int) -> bytes:
        """What was held back, at the end of the output or of the channel's turn."""
        held, self._held = self._held, b""
        return self._event(self._channel, held, position) if held else b""

    def _event(self, channel: Channel, data: bytes, position: int, skipped: int = 0) -> bytes:
        content, encoding = (text(data, "base64"), "base64") if self._base64 else exact(data)
        body: Json = {"data": content, "encoding": encoding}
        if skipped:
            body["skipped"] = skipped
        return event(channel.value, body, position)


def unfinished(data: bytes) -> bytes:
    """The beginning of a character at the very end of the data, if it could still be finished."""
    for size in range(1, min(_LONGEST_CHARACTER, len(data) + 1)):
        first = data[-size]
        if first in _CONTINUATION:
            continue
        return data[-size:] if _length(first) > size else b""
    return b""


def _length(first: int) -> int:
    """How many bytes a character has that begins with this one; 1 for what begins none."""
    if 0xC2 <= first < 0xE0:  # noqa: PLR2004 - the table of UTF-8
        return 2
    if 0xE0 <= first < 0xF0:  # noqa: PLR2004
        return 3
    if 0xF0 <= first < 0xF5:  # noqa: PLR2004
        return 4
    return 1
