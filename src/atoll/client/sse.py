"""Server-sent events, as a parser that never waits: bytes in, events out."""

from dataclasses import dataclass

_LONGEST_LINE = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event. `id` is the last one seen, as the standard says."""

    name: str
    data: str
    id: str | None


class EventParser:
    """Feed it the body's chunks, whatever their borders."""

    def __init__(self) -> None:
        self._rest = b""
        self._name = ""
        self._data: list[str] = []
        self.last_id: str | None = None

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that this chunk completes."""
        events: list[ServerEvent] = []
        self._rest += chunk
        if b"\n" not in chunk:
            if len(self._rest) > _LONGEST_LINE:
                raise ValueError("The server sent an event longer than 16 MiB.")
            return events
        *lines, self._rest = self._rest.split(b"\n")
        for raw in lines:
            event = self._line(raw.removesuffix(b"\r").decode("utf-8", "replace"))
            if event is not None:
                events.append(event)
        return events

    def _line(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "data":
            self._data.append(value)
        elif key == "event":
            self._name = value
        elif key == "id" and "\0" not in value:
            self.last_id = value
        return None

    def _dispatch(self) -> ServerEvent | None:
        name, data = self._name or "message", self._data
        self._name, self._data = "", []
        return ServerEvent(name, "\n".join(data), self.last_id) if data else None
