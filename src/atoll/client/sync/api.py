# Generated from atoll/client/aio by scripts/sync_client.py. Change it there.
# fmt: off
# ruff: noqa: C416, I001, RUF100, UP028
"""The client of one server."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from types import TracebackType
from typing import Self, Unpack

import httpx

from atoll.client import bodies, model, readers
from atoll.client.sync.keys import Keys
from atoll.client.sync.sandbox import Sandboxes
from atoll.client.sync.snapshots import Snapshots
from atoll.client.sync.transport import Transport
from atoll.client.document import Document
from atoll.client.options import CodeOptions, EventChoice, RunOptions
from atoll.client.request import get, post
from atoll.client.retry import Retry

DEFAULT_URL = "http://127.0.0.1:8000"
_BATCH_S = 3600.0


class Atoll:
    """Run untrusted code in isolated sandboxes.

    Close it, or use it in a `with` block. `transport` replaces the network, in tests.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        api_key: str | None = None,
        *,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._transport = Transport(url, api_key, retry=retry, transport=transport)
        self.sandboxes = Sandboxes(self._transport)
        self.snapshots = Snapshots(self._transport)
        self.keys = Keys(self._transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def execute(
        self, language: str, code: str | None = None, **options: Unpack[CodeOptions]
    ) -> model.Result:
        """Run code once in a fresh sandbox: `code`, or `files=` and `entry=`."""
        body = bodies.code(language, code, options)
        request = post("/v1/execute", body, read_s=bodies.read_s(options))
        return readers.result(self._transport.json(request))

    def execute_stream(
        self, language: str, code: str | None = None, **options: Unpack[CodeOptions]
    ) -> Generator[model.Event, None]:
        """The same as events while it runs. Closing the generator ends the program."""
        request = post("/v1/execute/stream", bodies.code(language, code, options))
        return self._transport.program(request)

    def run(
        self, command: str | Sequence[str], **options: Unpack[RunOptions]
    ) -> model.Result:
        """Run a command once in a fresh sandbox; a string is a line for the shell."""
        body = bodies.command(command, options)
        request = post("/v1/run", body, read_s=bodies.read_s(options))
        return readers.result(self._transport.json(request))

    def run_stream(
        self, command: str | Sequence[str], **options: Unpack[RunOptions]
    ) -> Generator[model.Event, None]:
        """The same as events while it runs. Closing the generator ends the program."""
        request = post("/v1/run/stream", bodies.command(command, options))
        return self._transport.program(request)

    def batch(
        self, requests: Iterable[bodies.OneShot], *, concurrency: int | None = None
    ) -> list[model.BatchItem]:
        """Run many one-shots (`Code` and `Command`); results in order, problems as values."""
        body: dict[str, object] = {"requests": [each.body() for each in requests]}
        if concurrency is not None:
            body["concurrency"] = concurrency
        document = self._transport.json(post("/v1/batch", body, read_s=_BATCH_S))
        return [readers.batch_item(each) for each in document.items("results")]

    def events(
        self, *, after: str | None = None, limit: int = 100, **choice: Unpack[EventChoice]
    ) -> model.EventPage:
        """A page of the audit log, oldest first."""
        request = get("/v1/events", cursor=after, limit=limit, **bodies.events(choice))
        return readers.event_page(self._transport.json(request))

    def follow_events(
        self, *, after: str | None = None, **choice: Unpack[EventChoice]
    ) -> Generator[model.AuditEvent, None]:
        """The audit log from now on, or from behind an event; it never ends by itself."""
        request = get("/v1/events", **bodies.events(choice))
        stream = self._transport.events(request, last="", resume_from=after or "")
        with closing(stream) as events:
            for happened in events:
                if happened.name == "audit":
                    yield readers.audit_event(Document.parse(happened.data))

    def languages(self) -> list[model.LanguageInfo]:
        """The languages the server knows, and which of them it has."""
        page = self._transport.json(get("/v1/languages"))
        return [readers.language(each) for each in page.items("items")]

    def profiles(self) -> list[model.ProfileInfo]:
        """The named sets of rules, and what of them is in force there."""
        page = self._transport.json(get("/v1/profiles"))
        return [readers.profile(each) for each in page.items("items")]

    def backends(self) -> list[model.BackendInfo]:
        """The kinds of isolation, and why those that cannot be used cannot."""
        page = self._transport.json(get("/v1/backends"))
        return [readers.backend(each) for each in page.items("items")]

    def ready(self) -> bool:
        """Whether the server takes work."""
        return self._transport.exists(get("/readyz"))
