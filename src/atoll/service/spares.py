"""Interpreters that have started and wait for a program, in open sandboxes."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from atoll.core.errors import Conflict
from atoll.core.model import ProcessSpec
from atoll.core.ports import Process, Rearmable
from atoll.service.live import Starts


@dataclass(frozen=True, slots=True)
class Spare:
    """One of them. Its program's main module is to be at `main`; it tells under `nonce`.

    It waits `since` then, by the event loop's clock.
    """

    process: Process
    main: str
    nonce: str
    since: float


class Prompted:
    """Starts an interpreter and gives it its job; one that waits, if it has not died waiting."""

    def __init__(self, box: Starts, job: Mapping[str, Any], spare: Spare | None = None) -> None:
        self._box = box
        self._line = json.dumps(job).encode() + b"\n"
        self._spare = spare

    async def start(self, spec: ProcessSpec) -> Process:
        spare = self._spare
        if spare is not None and isinstance(spare.process, Rearmable):
            spare.process.rearm(spec)
            try:
                await spare.process.write_stdin(self._line)
            except Conflict:
                pass
            else:
                await spare.process.close_stdin()
                return spare.process
        process = await self._box.start(spec)
        with suppress(Conflict):  # it has ended already, and says itself why
            await process.write_stdin(self._line)
            await process.close_stdin()
        return process
