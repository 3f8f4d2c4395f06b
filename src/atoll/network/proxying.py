"""The proxy of one sandbox, at the host's end of its link, and nobody else's."""

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import structlog
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskGroup, TaskStatus

from atoll.network.proxy import Proxy

_log = structlog.stdlib.get_logger(__name__)


@asynccontextmanager
async def proxying(tasks: TaskGroup, address: str, proxy: Proxy) -> AsyncGenerator[int, None]:
    """Serves at that address for the length of the block; the TCP port."""
    serving = _Serving(address, proxy)
    port: int = await tasks.start(serving.serve)
    try:
        yield port
    finally:
        serving.scope.cancel()
        with anyio.CancelScope(shield=True):
            await serving.ended.wait()


class _Serving:
    def __init__(self, address: str, proxy: Proxy) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self._address = address
        self._proxy = proxy

    async def serve(self, *, task_status: TaskStatus[int]) -> None:
        try:
            with self.scope:
                where = self._address
                async with (
                    await anyio.create_tcp_listener(local_host=where, local_port=0) as streams,
                    anyio.create_task_group() as tasks,
                ):
                    task_status.started(int(streams.extra(SocketAttribute.local_port)))  # noqa: S610
                    await streams.serve(self._one, tasks)
        except* (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError) as gone:
            _log.warning("a sandbox has no proxy any more", error=str(gone.exceptions[0]))
        finally:
            self.ended.set()

    async def _one(self, peer: SocketStream) -> None:
        try:
            await self._proxy.serve(peer)
        except Exception:  # noqa: BLE001 - a keeper: one connection must not end all networks
            _log.exception("a connection of a sandbox's proxy failed")


async def dialled(host: str, port: int) -> ByteStream:
    """Connect to an address that is not this machine's own. `OSError`."""
    own = await anyio.to_thread.run_sync(_own, host, port)
    if own:
        raise ConnectionRefusedError(f"{host} is an address of this machine")
    return await anyio.connect_tcp(host, port)


def _own(host: str, port: int) -> bool:
    """Whether the kernel would send from that very address: then it is ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))
        except OSError:
            return False
        return bool(probe.getsockname()[0] == host)
