"""A terminal over a WebSocket: binary frames are bytes both ways, text frames are JSON."""

from contextlib import aclosing
from typing import Annotated, Literal

import anyio
from fastapi import APIRouter, WebSocket
from pydantic import Field, RootModel
from pydantic_core import to_json
from starlette.websockets import WebSocketDisconnect

from atoll.core.errors import AtollError
from atoll.core.records import ProcessRecord
from atoll.http.answers import exit_body
from atoll.http.bodies import parse
from atoll.http.errors import Refused, problem_of
from atoll.http.front import Front, caller, front
from atoll.http.middleware.boundary import request_id, single
from atoll.http.schemas.process import SignalRequest, TtyIn
from atoll.http.schemas.words import RequestModel
from atoll.http.v1.output import SETTLED_S, Position
from atoll.http.v1.parameters import Pid, SandboxRef
from atoll.service.caller import Caller

router = APIRouter(tags=["processes"])
NORMAL, BROKEN, SERVICE_RESTART = 1000, 1011, 1012


class Resize(TtyIn):
    """The terminal has another size."""

    type: Literal["resize"]


class Signal(SignalRequest):
    """Send a signal."""

    type: Literal["signal"]


class EndOfInput(RequestModel):
    """There will be no more input."""

    type: Literal["eof"]


class Control(RootModel[Annotated[Resize | Signal | EndOfInput, Field(discriminator="type")]]):
    """What a client says in a text frame."""


@router.websocket("/v1/sandboxes/{sandbox}/processes/{pid}/attach")
async def attach(
    websocket: WebSocket, sandbox: SandboxRef, pid: Pid, position: Position = 0
) -> None:
    """Attach to a process; hanging up leaves it running."""
    here, who = front(websocket), caller(websocket)
    with here.streams.one():
        record = await here.services.processes.get(who, sandbox, pid)
        here.services.audit.record("process.attach", who, "ok", record.sandbox_id, number=pid)
        await websocket.accept()
        terminal = Terminal(websocket, here, who, record)
        try:
            with here.streams.follower() as draining:
                await terminal.run(position)
            if draining.cancelled_caught:
                await websocket.close(SERVICE_RESTART)
        except WebSocketDisconnect:
            return


class Terminal:
    """One client at one process."""

    def __init__(
        self, websocket: WebSocket, here: Front, who: Caller, record: ProcessRecord
    ) -> None:
        self._websocket = websocket
        self._processes = here.services.processes
        self._who = who
        self._sandbox = record.sandbox_id
        self._number = record.number

    async def run(self, position: int) -> None:
        """Carry bytes both ways until the process ends or the client goes."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._listen, group.cancel_scope)
                await self._speak(position)
                group.cancel_scope.cancel()
        except BaseExceptionGroup as error:
            raise single(error) from None

    async def _speak(self, position: int) -> None:
        try:
            reading = self._processes.output(
                self._who, self._sandbox, self._number, position=position
            )
            async with aclosing(reading) as chunks:
                async for chunk in chunks:
                    await self._websocket.send_bytes(chunk.data)
            end = await self._processes.wait(self._who, self._sandbox, self._number, SETTLED_S)
        except AtollError as error:
            await self._complain(error)
            await self._websocket.close(BROKEN)
            return
        if end is not None:
            await self._say({"type": "exit", **exit_body(end)})
        await self._websocket.close(NORMAL)

    async def _listen(self, scope: anyio.CancelScope) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                scope.cancel()
                return
            try:
                await self._obey(message.get("bytes"), message.get("text"))
            except AtollError as error:
                await self._complain(error)

    async def _obey(self, data: bytes | None, line: str | None) -> None:
        if data is not None:
            await self._processes.write_stdin(self._who, self._sandbox, self._number, data)
            return
        if line is None:
            raise Refused(400, "A frame must be binary or text.")
        control = parse(line, Control).root
        if isinstance(control, Resize):
            await self._processes.resize(
                self._who, self._sandbox, self._number, rows=control.rows, cols=control.cols
            )
        elif isinstance(control, Signal):
            await self._processes.signal(self._who, self._sandbox, self._number, control.number)
        else:
            await self._processes.close_stdin(self._who, self._sandbox, self._number)

    async def _complain(self, error: AtollError) -> None:
        body = problem_of(error).body(request_id(self._websocket.scope))
        await self._say({**body, "type": "error"})

    async def _say(self, body: dict[str, object]) -> None:
        await self._websocket.send_text(to_json(body).decode())
