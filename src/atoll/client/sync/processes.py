# Generated from atoll/client/aio by scripts/sync_client.py. Change it there.
# fmt: off
# ruff: noqa: C416, I001, RUF100, UP028
"""Programs in a sandbox that go on without their client."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, closing
from typing import Literal, Unpack

from atoll.client import bodies, model, readers
from atoll.client.sync.attach import Terminal, open_terminal
from atoll.client.sync.transport import Transport
from atoll.client.document import Document
from atoll.client.options import StartOptions
from atoll.client.request import Request, delete, get, post

Channel = Literal["stdout", "stderr"]
_WAIT_S = 30


class Process:
    """One program. It lives in the server; nothing here needs closing."""

    def __init__(
        self, transport: Transport, processes_path: str, info: model.ProcessInfo
    ) -> None:
        self._transport = transport
        self._path = f"{processes_path}/{info.pid}"
        self.info = info

    @property
    def pid(self) -> int:
        """Its number in the sandbox."""
        return self.info.pid

    def refresh(self) -> model.ProcessInfo:
        """Ask how it is now."""
        self.info = readers.process(self._transport.json(get(self._path)))
        return self.info

    def wait(self) -> model.Exit:
        """Wait for its end, however long that takes."""
        path = f"{self._path}/wait"
        request = Request("POST", path, query={"timeout_s": _WAIT_S}, repeatable=True)
        while True:
            self.info = readers.process(self._transport.json(request))
            if self.info.exit is not None:
                return self.info.exit

    def output(
        self,
        *,
        channel: Channel | None = None,
        position: str | None = None,
        follow: bool = True,
    ) -> Generator[model.Output | model.Finished, None]:
        """What it has written, from the beginning or a position, and what it goes on writing.

        A broken connection is made again where it broke: nothing is lost or seen twice.
        """
        query = {"channel": channel, "follow": follow, "encoding": "base64"}
        request = get(f"{self._path}/output", position=position, **query)
        last = readers.LAST_EVENT if follow else None
        stream = self._transport.events(request, last=last, resume_from="")
        with closing(stream) as events:
            for happened in events:
                event = readers.event(happened)
                if isinstance(event, model.Output | model.Finished):
                    yield event

    def log(self, *, channel: Channel | None = None, tail_bytes: int | None = None) -> bytes:
        """What it has written so far, or the end of it, without waiting for more."""
        query = {"channel": channel, "tail_bytes": tail_bytes}
        return (self._transport.send(get(f"{self._path}/log", **query))).content

    def write_stdin(self, data: str | bytes, *, close: bool = False) -> None:
        """Feed it; with `close` its input ends there."""
        body = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
        query = {"close": True} if close else {}
        headers = {"Content-Type": "application/octet-stream"}
        path = f"{self._path}/stdin"
        self._transport.send(Request("POST", path, query=query, body=body, headers=headers))

    def close_stdin(self) -> None:
        """End its input."""
        self.write_stdin(b"", close=True)

    def signal(self, signal: int | str) -> None:
        """Send a signal, by number or by a name such as `SIGINT`."""
        self._transport.send(post(f"{self._path}/signal", {"signal": signal}))

    def resize(self, rows: int, cols: int) -> None:
        """Tell its terminal the size."""
        body = {"rows": rows, "cols": cols}
        self._transport.send(post(f"{self._path}/resize", body, repeatable=True))

    def kill(self) -> None:
        """End it at once."""
        self._transport.send(delete(self._path))

    def attach(self) -> AbstractContextManager[Terminal]:
        """Its terminal, both ways, for the length of a `with` block."""
        return open_terminal(self._transport.url, self._transport.headers, self._path)


class Processes:
    """The programs of one sandbox."""

    def __init__(self, transport: Transport, sandbox_path: str) -> None:
        self._transport = transport
        self._path = f"{sandbox_path}/processes"

    def start(
        self, command: str | Sequence[str] | None = None, **options: Unpack[StartOptions]
    ) -> Process:
        """Start a command (a string is a line for the shell), or `language=` and `code=`."""
        request = post(self._path, bodies.command(command, options))
        return self._process(self._transport.json(request))

    def get(self, pid: int) -> Process:
        """One of them, running or not."""
        return self._process(self._transport.json(get(f"{self._path}/{pid}")))

    def list(self) -> list[model.ProcessInfo]:
        """All that were ever started here."""
        page = self._transport.json(get(self._path))
        return [readers.process(each) for each in page.items("items")]

    def _process(self, document: Document) -> Process:
        return Process(self._transport, self._path, readers.process(document))
