"""uvicorn's HTTP protocol with bounds on what comes before the application sees anything."""

from asyncio import TimerHandle, Transport
from typing import Any

from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from atoll.http.errors import MEDIA_TYPE, Refused, problem_of

HEAD_S = 20.0
MOST_HEADERS = 1000
MOST_BYTES = 256 * 1024
# How much of a body may wait for the application.
BODY_BYTES = 512 * 1024


class BoundedProtocol(HttpToolsProtocol):
    """Ends connections whose request line and headers are too slow, too many or too large.

    These bounds protect the memory of the server; those that operators set are lower, and are the
    application's own.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on as they are
        super().__init__(*args, **kwargs)
        self._head_timer: TimerHandle | None = None
        self._head_bytes = 0
        self._refusal: Refused | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_is_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        if self._head_timer is None:
            self._await_head()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + 4)
        if len(self.headers) >= MOST_HEADERS:
            self._refuse(f"At most {MOST_HEADERS} headers are taken.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_is_here()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """As uvicorn does it, but letting more come before reading is paused."""
        # An upgrade makes no cycle, so that is asked first.
        upgrade = self.parser.should_upgrade()  # pyright: ignore[reportOptionalMemberAccess]
        if upgrade and self._should_upgrade():
            return
        if self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > BODY_BYTES:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def send_400_response(self, msg: str) -> None:
        error = self._refusal or Refused(400, msg)
        problem = problem_of(error)
        body = to_json(problem.body("-"))
        phrase = "Request Header Fields Too Large" if problem.status == 431 else "Bad Request"  # noqa: PLR2004
        head = (
            f"HTTP/1.1 {problem.status} {phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_S, self._too_slow)

    def _head_is_here(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MOST_BYTES:
            self._refuse(f"Headers and URL may have {MOST_BYTES} bytes together.")

    def _refuse(self, detail: str) -> None:
        self._refusal = Refused(431, detail)
        raise self._refusal
