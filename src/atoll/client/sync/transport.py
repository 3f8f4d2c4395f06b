# Generated from atoll/client/aio by scripts/sync_client.py. Change it there.
# fmt: off
# ruff: noqa: C416, I001, RUF100, UP028
"""Send requests: retries, problems into exceptions, streams that resume."""

from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import httpx

from atoll.client import model, readers
from atoll.client.sync.drive import Http, Response, pump, sleep
from atoll.client.document import Document
from atoll.client.errors import AtollError, NotFound, Unreachable, problem_from
from atoll.client.request import Request
from atoll.client.retry import Retry
from atoll.client.sse import EventParser, ServerEvent

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# What is read is what was sent, so that ranges and positions count the same bytes.
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}
_CONNECT_S = 5.0
_WRITE_S = 60.0
_KEEPALIVE_S = 2.0
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Transport:
    """One server, one pool of connections. Close it."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise AtollError(f"{url!r} is no server's address: write http://… or https://…")
        if api_key is not None and not api_key.isascii():
            raise AtollError("The API key has characters that no key has.")
        self.url = url.rstrip("/")
        self.headers: Mapping[str, str] = {"X-API-Key": api_key} if api_key else {}
        self._retry = retry or Retry()
        self._http = Http(
            base_url=self.url,
            headers={**_HEADERS, **self.headers},
            # Making a TLS context costs more than a request; a plain address needs none.
            verify=self.url.startswith("https:"),
            trust_env=urlsplit(self.url).hostname not in _LOOPBACK,
            transport=transport,
            limits=httpx.Limits(max_connections=None, keepalive_expiry=_KEEPALIVE_S),
        )

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def send(self, request: Request) -> Response:
        """The whole answer of a success; a `Problem` or `Unreachable` otherwise."""
        return self._begin(request, whole=True)

    def json(self, request: Request) -> Document:
        """A success's JSON object."""
        response = self.send(request)
        return Document.parse(response.content)

    @contextmanager
    def open(self, request: Request) -> Generator[Response, None]:
        """A success's answer, its body not yet read; tries again until the headers are there."""
        response = self._begin(request, whole=False)
        try:
            yield response
        finally:
            response.close()

    def chunks(self, request: Request) -> Generator[bytes, None]:
        """A success's body, piece by piece."""
        with self.open(request) as response:
            try:
                for chunk in response.iter_raw():
                    yield chunk
            except httpx.TransportError as failed:
                raise self._unreachable(failed, sent=True) from failed

    def exists(self, request: Request) -> bool:
        """Whether the answer is a success, rather than `NotFound`."""
        try:
            self.send(request)
        except NotFound:
            return False
        return True

    def _begin(self, request: Request, *, whole: bool) -> Response:
        attempt = 1
        while True:
            try:
                return self._try(request, whole=whole)
            except AtollError as failed:
                self._wait_or_raise(failed, attempt, request)
            attempt += 1

    def _wait_or_raise(self, failed: AtollError, attempt: int, request: Request) -> None:
        wait_s = self._retry.wait_s(failed, attempt, repeatable=request.repeatable)
        if wait_s is None:
            raise failed
        sleep(wait_s)

    def _try(self, request: Request, *, whole: bool) -> Response:
        outgoing = self._http.build_request(
            request.method,
            request.path,
            params=request.parameters() or None,
            json=request.json,
            content=pump(request.body) if callable(request.body) else request.body,
            headers=dict(request.headers),
            timeout=httpx.Timeout(_WRITE_S, connect=_CONNECT_S, read=request.read_s),
        )
        try:
            response = self._http.send(outgoing, stream=True)
            if whole or not response.is_success:
                try:
                    response.read()
                finally:
                    response.close()
        except httpx.TransportError as failed:
            raise self._unreachable(failed, sent=not isinstance(failed, _NEVER_SENT)) from failed
        if not response.is_success:
            raise problem_from(response.status_code, response.headers, response.content)
        return response

    def _unreachable(self, failed: httpx.TransportError, *, sent: bool) -> Unreachable:
        reason = (str(failed) or type(failed).__name__).removesuffix(".")
        return Unreachable(f"{self.url} did not answer: {reason}.", sent=sent)

    def program(self, request: Request) -> Generator[model.Event, None]:
        """The events of a program's stream, to its exit. Closing it closes the connection."""
        with closing(self.events(request, last=readers.LAST_EVENT)) as events:
            for happened in events:
                event = readers.event(happened)
                if event is not None:
                    yield event

    def events(
        self,
        request: Request,
        *,
        last: str | None = None,
        resume_from: str | None = None,
    ) -> Generator[ServerEvent, None]:
        """The events of a stream, until one named `last` has come; the `Problem` it ends with.

        With `resume_from` (an event id, or "" for the beginning) a broken connection is made
        again where it broke; without, breaking raises `Unreachable`.
        """
        position = resume_from
        attempt = 1
        while True:
            headers = {"Accept": "text/event-stream", **request.headers}
            if position:
                headers["Last-Event-ID"] = position
            broken = Unreachable(f"{self.url} ended the stream early.", sent=True)
            with self.open(replace(request, headers=headers)) as response:
                parser = EventParser()
                try:
                    for chunk in response.iter_raw():
                        for event in parser.feed(chunk):
                            attempt = 1
                            readers.check_event(event)
                            if position is not None and event.id is not None:
                                position = event.id
                            yield event
                            if event.name == last:
                                return
                    if last is None:
                        return
                except httpx.TransportError as failed:
                    broken = self._unreachable(failed, sent=True)
            wait_s = self._retry.wait_s(broken, attempt, repeatable=position is not None)
            if wait_s is None:
                raise broken
            sleep(wait_s)
            attempt += 1
