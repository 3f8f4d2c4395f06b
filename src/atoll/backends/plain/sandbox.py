"""An open sandbox of plain workers: a directory, the workers on it, and its end."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator
from typing import Any

import anyio

from atoll.core.errors import BackendFault, Conflict, Unsupported
from atoll.core.model import Change, ExitReason, ProcessSpec, SandboxSpec
from atoll.jail.host.files import JailedFiles
from atoll.jail.host.process import JailedProcess
from atoll.jail.host.starting import started
from atoll.jail.host.waiting import Waiting, order, waiting
from atoll.jail.spawn import Zygote
from atoll.wire.message import Header

DIE_S = 10.0


class PlainSandbox:
    """Implements `core.ports.Sandbox`, `Ended` and `Watches`. Closed by whoever opened it.

    `root` is a descriptor of its directory, which it owns from now on.
    """

    def __init__(self, spec: SandboxSpec, zygote: Zygote, root: int) -> None:
        self.spec = spec
        self._zygote = zygote
        self._root = root
        self._loop = asyncio.get_running_loop()
        self._processes: dict[int, JailedProcess] = {}
        self._forks: dict[int, asyncio.Future[Header]] = {}
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._files = JailedFiles(self)
        self._pidfd = os.pidfd_open(zygote.pid)
        self._loop.add_reader(self._pidfd, self._died, "crash", ExitReason.UNKNOWN)

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def files(self) -> JailedFiles:
        return self._files

    @property
    def busy(self) -> bool:
        """Whether a program runs in it."""
        return bool(self._processes)

    async def ended(self) -> str:
        return await asyncio.shield(self._ended)

    def watch(self, path: str) -> AsyncGenerator[Change, None]:
        return self._files.watch(path)

    # programs
    async def start(self, spec: ProcessSpec) -> JailedProcess:
        if self._ended.done():
            raise BackendFault("The sandbox has ended.", sandbox_id=self.id)
        if spec.tty is not None:
            raise Unsupported("Workers have no terminals.")
        if len(self._forks) >= self.spec.limits.processes:
            raise Conflict("The sandbox cannot start another process.")
        return await started(self, spec, order(spec, self.spec.env), self._confined, self._adopt)

    async def _confined(self) -> tuple[Waiting, int]:
        one = self._fork()
        return one, await one.pid(self.id)

    def _fork(self) -> Waiting:
        number, report = self._zygote.expect()
        one, theirs = waiting(number, report, tty=False)
        limits = self.spec.limits
        request: Header = {
            "op": "start", "id": self.id, "n": number, "memory_bytes": limits.memory_bytes,
            "disk_bytes": limits.disk_bytes, "open_files": limits.open_files,
        }  # fmt: skip
        try:
            self._zygote.tell(request, (*theirs, self._root))
        except BaseException:
            one.close()
            self._zygote.forget(number)
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        self._forks[number] = report
        report.add_done_callback(lambda done: self._exited(number, done))
        return one

    def _adopt(self, one: Waiting, process: JailedProcess) -> None:
        if self._ended.done():
            process.lost(ExitReason.CANCELLED)
        elif one.number in self._forks:
            self._processes[one.number] = process
        else:
            process.exited(one.report.result())

    def _exited(self, number: int, report: "asyncio.Future[Header]") -> None:
        self._forks.pop(number, None)
        process = self._processes.pop(number, None)
        if process is not None and not self._ended.done():
            process.exited(report.result())

    # what a process and files need
    def cpu_s(self) -> float | None:
        return None

    def new_evidence(self) -> tuple[bool, bool]:
        return False, False

    def disk_full(self) -> bool:
        return False

    def work(self, header: dict[str, Any], sock: int | None = None) -> None:
        if self._ended.done():
            raise BackendFault("The sandbox has ended.", sandbox_id=self.id)
        if sock is not None:
            self._zygote.tell({"op": "work", "id": self.id, "n": 0, **header}, (sock, self._root))
            return
        for number, process in self._processes.items():
            if process.pid == header["pid"]:
                what = header.get("signal", signal.SIGKILL)
                self._zygote.tell(
                    {"op": "signal", "id": self.id, "n": number, "signal": int(what)}, ()
                )

    def over_disk(self) -> None:
        """More is on disk than may be: end what runs."""
        for process in list(self._processes.values()):
            process.end(ExitReason.DISK)

    # the end
    def kill(self) -> None:
        """End all that works in it, and it."""
        if not self._ended.done():
            with contextlib.suppress(BackendFault):
                self._zygote.tell({"op": "end", "id": self.id, "n": 0}, ())
            self._died("closed", ExitReason.CANCELLED)

    def _died(self, why: str, reason: ExitReason) -> None:
        if self._ended.done():
            return
        self._loop.remove_reader(self._pidfd)
        self._ended.set_result(why)
        for process in list(self._processes.values()):
            process.lost(reason)
        self._processes.clear()

    async def close(self) -> None:
        """Kill everything, wait until it has ended, and let go of all that it held."""
        self.kill()
        if self._forks and not self._zygote.broken:
            with anyio.move_on_after(DIE_S):
                await asyncio.wait(self._forks.values())
        for number in self._forks:
            self._zygote.forget(number)
        os.close(self._pidfd)
        os.close(self._root)
