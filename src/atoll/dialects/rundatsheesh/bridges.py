"""Bridges: a program in each consumer takes its calls on the VM's own loopback.

It hands them to this server by its own pipes, so that a VM needs no network to call its peers.
"""

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, cast

import anyio

from atoll.core.errors import AtollError, BackendFault, Conflict
from atoll.core.model import WORKSPACE, Channel, ProcessSpec
from atoll.core.ports import Process, Sandbox
from atoll.core.records import DocumentRecord, SandboxRecord
from atoll.dialects.rundatsheesh.bodies import INVOKE
from atoll.dialects.rundatsheesh.checking import checked
from atoll.dialects.rundatsheesh.errors import INTERNAL, STATUS, SheeshError
from atoll.dialects.rundatsheesh.labels import notes
from atoll.dialects.rundatsheesh.manifests import BRIDGE
from atoll.http.services import Services
from atoll.service.caller import Caller
from atoll.service.locks import Locks
from atoll.service.preludes import PLACE

Invoke = Callable[[str, Mapping[str, Any]], Awaitable[dict[str, Any]]]
_CHOICES, _KEY = "run-dat-sheesh.choices", "bridge-key"
_LINE_BYTES = 2 * 1024 * 1024
_AT_ONCE = 16
_READY_S = 15.0
_PROGRAM = ("deno", "run", "--quiet", "--no-prompt", "--allow-net=127.0.0.1")
_ENV = {"DENO_DIR": f"{WORKSPACE}/.deno", "NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1"}
_LIFE_S = 30 * 86_400.0


@dataclass(eq=False, slots=True)
class _Bridge:
    box: Sandbox
    process: Process
    writing: anyio.Lock
    ready: anyio.Event
    port: int = 0


class Bridges:
    """Starts them, and answers what they hand on."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._open: dict[str, _Bridge] = {}
        self._starting = Locks()
        self._invoke: Invoke | None = None
        self._key: bytes | None = None

    @property
    def caller(self) -> Caller:
        """Who calls in the name of a VM."""
        return replace(self._services.keys.administrator(), actor="bridge")

    def serve(self, invoke: Invoke) -> None:
        """What answers calls."""
        self._invoke = invoke

    async def token(self, sandbox_id: str) -> str:
        """What a VM shows to prove which one it is."""
        signed = hmac.digest(await self._secret(), sandbox_id.encode(), hashlib.sha256)
        return f"{sandbox_id}.{base64.urlsafe_b64encode(signed).decode('ascii').rstrip('=')}"

    async def bearer(self, token: str) -> str | None:
        """The sandbox's id of a token; None for what is none."""
        sandbox_id = token.partition(".")[0]
        good = hmac.compare_digest((await self.token(sandbox_id)).encode(), token.encode())
        return sandbox_id if good else None

    async def ensure(self, who: Caller, record: SandboxRecord) -> None:
        """Have the bridge of a VM with peers run."""
        if not notes(record.labels).links:
            return
        async with (
            self._starting.hold(record.id),
            self._services.sandboxes.using(who, record.id) as box,
        ):
            known = self._open.get(record.id)
            if known is None or known.box is not box:
                await self._start(box)

    async def _start(self, box: Sandbox) -> None:
        spec = ProcessSpec(
            argv=(*_PROGRAM, f"{PLACE}/bridge.js"),
            env=_ENV,
            stdin=True,
            wall_s=_LIFE_S,
            cpu_s=_LIFE_S,
            output_bytes=2**62,
        )  # fmt: skip
        bridge = _Bridge(box, await box.start(spec), anyio.Lock(), anyio.Event())
        self._services.keeper.spawn(self._serve, bridge)
        with anyio.move_on_after(_READY_S):
            await bridge.ready.wait()
        if not bridge.port:
            raise BackendFault("The bridge did not start.", sandbox_id=box.id)
        said = {"url": f"http://127.0.0.1:{bridge.port}", "token": await self.token(box.id)}
        place = f"{WORKSPACE}/{BRIDGE}/bridge.json"
        await box.files.write(place, json.dumps(said).encode(), mode=0o600)

    async def _serve(self, bridge: _Bridge) -> None:
        """Take its lines until it ends."""
        self._open[bridge.box.id] = bridge
        limit = anyio.Semaphore(_AT_ONCE)
        try:
            async with (
                anyio.create_task_group() as group,
                aclosing(_lines(bridge.process)) as lines,
            ):
                async for message in lines:
                    if not bridge.ready.is_set():
                        port = message.get("port")
                        bridge.port = port if isinstance(port, int) else 0
                        bridge.ready.set()
                        continue
                    await limit.acquire()
                    group.start_soon(self._answer, bridge, message, limit)
                group.cancel_scope.cancel()
        finally:
            bridge.ready.set()
            if self._open.get(bridge.box.id) is bridge:
                del self._open[bridge.box.id]

    async def _answer(
        self, bridge: _Bridge, message: Mapping[str, Any], limit: anyio.Semaphore
    ) -> None:
        try:
            status, body = await self._called(message)
            line = {"id": message.get("id"), "status": status, "body": json.dumps(body)}
            async with bridge.writing:
                await bridge.process.write_stdin(json.dumps(line).encode() + b"\n")
        except Conflict:
            pass  # it has ended
        finally:
            limit.release()

    async def _called(self, message: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
        try:
            body = checked(INVOKE, json.loads(str(message.get("body"))))
            if self._invoke is None:
                raise BackendFault("The server is ending.")
            return 200, await self._invoke(str(message.get("authorization")), body)
        except (ValueError, RecursionError):
            return 400, {"message": "Body is not valid JSON"}
        except SheeshError as error:
            return error.status, {"message": error.detail}
        except AtollError as error:
            status = next(
                (STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), INTERNAL
            )
            return status, {"message": error.detail}

    async def _secret(self) -> bytes:
        if self._key is None:
            store = self._services.store
            found = await store.get_document(_CHOICES, _KEY)
            if found is None:
                now = self._services.clock.now()
                body = {"key": secrets.token_hex(32)}
                await store.put_document(DocumentRecord(_CHOICES, _KEY, "", now, body))
                found = await store.get_document(_CHOICES, _KEY)
            self._key = bytes.fromhex(str(found.body["key"])) if found is not None else b""
        return self._key


async def _lines(process: Process) -> AsyncGenerator[Mapping[str, Any], None]:
    """Its messages. One that is none, or too long, is the end: the program is a guest's."""
    held = bytearray()
    async with aclosing(process.output()) as output:
        async for channel, data in output:
            if channel is not Channel.STDOUT:
                continue
            held += data
            while (at := held.find(b"\n")) >= 0:
                line, held = bytes(held[:at]), held[at + 1 :]
                try:
                    message: object = json.loads(line)
                except (ValueError, RecursionError):
                    return
                if not isinstance(message, dict):
                    return
                yield cast("dict[str, Any]", message)
            if len(held) > _LINE_BYTES:
                return
