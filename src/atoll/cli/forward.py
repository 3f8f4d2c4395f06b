"""`atoll sandbox port`: a port of a sandbox as a port of this machine."""

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from atoll.cli.options import SandboxName, target_of

if TYPE_CHECKING:
    import anyio.abc

    from atoll.client import AsyncSandbox
    from atoll.client.aio.lines import AsyncConnection
    from atoll.client.errors import AtollError

_MOST = 128


def add_to(group: typer.Typer) -> None:
    """Declare the command."""
    group.command()(port)


def port(
    context: typer.Context,
    sandbox: SandboxName,
    number: Annotated[int, typer.Argument(metavar="PORT", min=1, max=65_535)],
    local: Annotated[
        int, typer.Argument(metavar="[LOCAL]", min=0, max=65_535, help="Here; 0 for any.")
    ] = 0,
    host: Annotated[str, typer.Option(help="The address to listen on here.")] = "127.0.0.1",
) -> None:
    """Forward a port of this machine to a declared port of a sandbox, until interrupted."""
    import anyio

    target = target_of(context)
    anyio.run(_forward, target.url, target.api_key, sandbox, number, host, local)


async def _forward(
    url: str, key: str | None, name: str, number: int, host: str, local: int
) -> None:
    from functools import partial

    import anyio
    from anyio.abc import SocketAttribute

    from atoll.client import AsyncAtoll

    async with AsyncAtoll(url, api_key=key) as atoll:
        place = await atoll.sandboxes.get(name)
        listener = await anyio.create_tcp_listener(local_host=host, local_port=local)
        async with listener:
            here = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no database
            # A name of its own, so that a browser sends no cookies of this machine's other servers.
            typer.echo(f"{host}:{here} is port {number} of {place.id}")
            if host == "127.0.0.1":
                typer.echo(f"For a browser: http://{place.id.replace('_', '-')}.localhost:{here}/")
            sys.stdout.flush()
            limiter = anyio.CapacityLimiter(_MOST)
            await listener.serve(partial(_carry, place, number, limiter))


async def _carry(
    place: "AsyncSandbox",
    number: int,
    limiter: "anyio.CapacityLimiter",
    stream: "anyio.abc.SocketStream",
) -> None:
    """One connection; what goes wrong with it ends no other."""
    import anyio

    from atoll.client.errors import AtollError

    async with stream, limiter:
        try:
            async with place.connect(number) as line, anyio.create_task_group() as group:
                group.start_soon(_inward, stream, line)
                while data := await line.receive():
                    await stream.send(data)
                await stream.send_eof()
        except* AtollError as failed:
            _tell(failed)
        except* (OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # one side has hung up


async def _inward(stream: "anyio.abc.SocketStream", line: "AsyncConnection") -> None:
    import anyio

    with suppress(anyio.EndOfStream):
        while True:
            await line.send(await stream.receive())
    await line.end()


def _tell(failed: "BaseExceptionGroup[AtollError]") -> None:
    for each in failed.exceptions:
        if isinstance(each, BaseExceptionGroup):
            _tell(each)
        else:
            sys.stderr.write(f"atoll: {each}\n")
