"""Zygotes that are launched when they are first asked for, and anew when they have ended."""

import contextlib
from dataclasses import dataclass, field
from typing import Self

import anyio
from anyio.abc import TaskStatus

from atoll.core.errors import AtollError, BackendFault
from atoll.jail.spawn import Zygote, ZygoteConfig, launch


@dataclass
class _Slot:
    """A zygote in use, and how to end it."""

    zygote: Zygote
    stop: anyio.Event = field(default_factory=anyio.Event)


class Zygotes:
    """One for each configuration. Enter it before use; with it end all of them."""

    def __init__(self) -> None:
        self._exits = contextlib.AsyncExitStack()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._slots: dict[ZygoteConfig, _Slot] = {}
        self._launching = anyio.Lock()

    async def __aenter__(self) -> Self:
        self._tasks = await self._exits.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()
            self._tasks = None
        await self._exits.aclose()
        self._slots.clear()

    async def of(self, config: ZygoteConfig) -> Zygote:
        """That zygote, running. Raises as `launch`."""
        async with self._launching:
            slot = self._slots.get(config)
            if slot is not None and not slot.zygote.broken:
                return slot.zygote
            if slot is not None:
                slot.stop.set()
                del self._slots[config]
            if self._tasks is None:
                raise BackendFault("The backend is not running.")
            answer = await self._tasks.start(self._hold, config)
            if isinstance(answer, AtollError):
                raise answer
            assert isinstance(answer, _Slot)  # noqa: S101
            self._slots[config] = answer
            return answer.zygote

    async def _hold(
        self, config: ZygoteConfig, *, task_status: TaskStatus[_Slot | AtollError]
    ) -> None:
        try:
            async with launch(config) as zygote:
                slot = _Slot(zygote)
                task_status.started(slot)
                await slot.stop.wait()
        except AtollError as error:
            task_status.started(error)
