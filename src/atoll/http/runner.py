"""Runs an application: binds before it says that it is ready, drains when it is told to stop."""

import asyncio
import errno
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager

import uvicorn
from fastapi import FastAPI

from atoll.core.errors import Unavailable
from atoll.core.model import BackendReport
from atoll.http.auth import is_loopback_name
from atoll.http.dialect import Spoken, Switch
from atoll.http.front import Front
from atoll.http.protocol import BoundedProtocol
from atoll.settings import Settings

BACKLOG = 2048
KEEP_ALIVE_S = 75
_SAMPLE = '{"language":"python","code":"print(1+1)"}'


@contextmanager
def bind(host: str, port: int) -> Generator[Sequence[socket.socket], None, None]:
    """Listening sockets on every address of the host. `Unavailable` says why not."""
    with ExitStack() as stack:
        sockets: list[socket.socket] = []
        for family, address in _addresses(host, port):
            chosen = (address, sockets[0].getsockname()[1] if sockets else port)
            try:
                sock = socket.create_server(chosen, family=family, backlog=BACKLOG)
            except OSError as error:
                if sockets and error.errno == errno.EADDRNOTAVAIL:
                    continue
                raise _cannot(address, port, error) from error
            sockets.append(stack.enter_context(sock))
        yield sockets


def _addresses(host: str, port: int) -> Sequence[tuple[socket.AddressFamily, str]]:
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise Unavailable(f"The host {host!r} has no address here: {error.strerror}.") from error
    return list(dict.fromkeys((family, str(address[0])) for family, *_, address in found))


def _cannot(address: str, port: int, error: OSError) -> Unavailable:
    advice = {
        errno.EADDRINUSE: "something else listens there; choose another --port",
        errno.EACCES: "that port needs root; choose one above 1023",
        errno.EADDRNOTAVAIL: "this machine has no such address",
    }.get(error.errno or 0, error.strerror)
    return Unavailable(f"Cannot listen on {address} port {port}: {advice}.")


async def run_server(
    app: FastAPI,
    settings: Settings,
    sockets: Sequence[socket.socket],
    spoken: Sequence[Spoken] = (),
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then drain; a second signal does not wait.

    A SIGHUP that is ignored, as under nohup, stays so.

    The dialects that are spoken share the server: one drain ends all of them.
    """
    front: Front = app.state.front
    await _refuse_openness(front, sockets)
    for each in spoken:
        if each.sockets and not each.guarded:
            await _refuse_openness(front, each.sockets)
    config = uvicorn.Config(
        Switch(app, spoken) if spoken else app,
        http=BoundedProtocol,
        ws="websockets-sansio",
        ws_max_size=1024 * 1024,
        lifespan="off",
        log_config=None,
        access_log=settings.access_log,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_s)),
    )
    others = [(each.name, _url(each.sockets[0])) for each in spoken if each.sockets]
    server = _Server(config, front, _url(sockets[0]), others)
    loop = asyncio.get_running_loop()
    ends = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        ends.append(signal.SIGHUP)
    for number in ends:
        loop.add_signal_handler(number, server.handle_exit, number, None)
    try:
        await server.serve([*sockets, *(sock for each in spoken for sock in each.sockets)])
    finally:
        for number in ends:
            loop.remove_signal_handler(number)


class _Server(uvicorn.Server):
    """Tells when it is ready, and ends streams without an end of their own when it drains."""

    def __init__(
        self, config: uvicorn.Config, front: Front, url: str, others: Sequence[tuple[str, str]]
    ) -> None:
        super().__init__(config)
        self._front = front
        self._url = url
        self._others = others

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(_greeting(self._url, await self._front.services.backends.reports()))
        sys.stdout.writelines(f"Dialect {name}: {url}\n" for name, url in self._others)
        sys.stdout.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._front.streams.end_followers()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to `run_server`: raised again after the drain they would end the rest."""
        yield


def _url(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _greeting(url: str, reports: Sequence[BackendReport]) -> str:
    usable = [report for report in reports if report.usable]
    if usable:
        first = usable[0]
        facts = "; ".join(f"{name}: {value}" for name, value in first.facts.items())
        isolation = f"{first.name} ({first.isolation.name.lower().replace('_', ' ')})"
        isolation += f", {facts}" if facts else ""
    else:
        isolation = "none works here. " + " ".join(f"{r.name}: {r.why}" for r in reports)
        isolation += " `atoll doctor` says more."
    return (
        f"Atoll serves {url}, its documentation {url}/docs\n"
        f"Isolation: {isolation}\n"
        f"Try: curl -s {url}/v1/execute -H 'content-type: application/json' -d '{_SAMPLE}'\n"
    )


async def _refuse_openness(front: Front, sockets: Sequence[socket.socket]) -> None:
    """Others could reach this server, and nothing would tell friend from foe."""
    addresses = [str(sock.getsockname()[0]) for sock in sockets]
    if front.settings.insecure or all(is_loopback_name(each) for each in addresses):
        return
    if front.login.enabled or await front.services.store.list_keys():
        return
    raise Unavailable(
        f"{addresses[0]} can be reached by others and there is no API key yet. Make one while the "
        "server is on 127.0.0.1, or set admin_password_hash, or say --insecure."
    )
