"""What a dialect is to the server: an application of its own, at a path and perhaps at a port.

A dialect is mounted at `/<name>` of the main port. With a listener of its own it is also at the
root there: the connection's own port tells, never a header.
"""

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from atoll.http.front import Front
from atoll.http.parity import Parity


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One dialect, as the registry lists it.

    `open` makes the application from what it shares with the native API and from its own options;
    what it runs beside requests ends with its block. `guards` tells from the options whether it
    checks keys of its own. `files` are its (host path, path in images) pairs, shown read-only in
    sandboxes. `preload` are modules of ours that are kept imported for them. `page` is the
    beginning of its page in the documentation.
    """

    name: str
    title: str
    port: int
    options: type[BaseModel]
    open: Callable[[Front, Any], AbstractAsyncContextManager[ASGIApp]]
    parity: Parity
    page: Callable[[], str]
    guards: Callable[[Any], bool] = lambda _: False
    files: Callable[[], Sequence[tuple[str, str]]] = tuple
    preload: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """An open dialect. `sockets` are its own listeners; none when it is only mounted."""

    name: str
    app: ASGIApp
    sockets: Sequence[socket.socket] = ()
    guarded: bool = False

    @property
    def ports(self) -> frozenset[int]:
        """The ports that are only its own."""
        return frozenset(int(each.getsockname()[1]) for each in self.sockets)


class Switch:
    """Hands a request to the dialect whose port or path it came to, else to the native API."""

    def __init__(self, native: ASGIApp, spoken: Sequence[Spoken]) -> None:
        self._native = native
        self._by_name: Mapping[str, ASGIApp] = {each.name: each.app for each in spoken}
        self._by_port = {port: each.app for each in spoken for port in each.ports}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._native(scope, receive, send)
            return
        server = scope.get("server")
        own = self._by_port.get(server[1]) if server else None
        if own is not None:
            await own(scope, receive, send)
            return
        name = scope["path"][1:].partition("/")[0]
        mounted = self._by_name.get(name)
        if mounted is None:
            await self._native(scope, receive, send)
        else:
            await mounted(
                {**scope, "root_path": f"{scope.get('root_path', '')}/{name}"}, receive, send
            )


def own_path(scope: Scope) -> str:
    """The path within the application, whatever it is mounted at."""
    path: str = scope["path"]
    return path[len(scope.get("root_path", "")) :] or "/"
