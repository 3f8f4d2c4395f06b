"""An open namespace sandbox: its first process, the programs in it, and its end."""

import asyncio
import contextlib
import os
import select
import signal
import socket
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import anyio
from anyio import to_thread

from atoll.core.errors import BackendFault, Conflict, Unsupported
from atoll.core.images import HOST
from atoll.core.model import (
    Change,
    ExitReason,
    NetworkPolicy,
    ProcessSpec,
    SandboxSpec,
    TtySize,
)
from atoll.core.uplinks import Uplink
from atoll.jail.cgroups import Group
from atoll.jail.freezer import Freezer
from atoll.jail.host.dialing import SocketConnection, dial
from atoll.jail.host.files import JailedFiles
from atoll.jail.host.process import JailedProcess
from atoll.jail.host.starting import START_S, started
from atoll.jail.host.waiting import Waiting, order, waiting
from atoll.jail.spawn import Made, Zygote
from atoll.wire.message import Header

DIE_S = 10.0
STANDBY_S = 2.0


class NamespaceSandbox:
    """Implements `core.ports.Sandbox`, `Ended`, `Watches`, `Dials` and `Pausable`.

    Closed by whoever opened it.

    `limits` is what every program's start carries; `standby` waits to become the first program,
    in a kept sandbox not for long. `memory_poll_bytes` is not 0 where no cgroup bounds memory and
    a worker inside must watch it.
    """

    def __init__(
        self,
        spec: SandboxSpec,
        zygote: Zygote,
        made: Made,
        group: Group,
        limits: Header,
        memory_poll_bytes: int,
        standby: Waiting,
        freezer: Freezer,
    ) -> None:
        self.spec = spec
        self.group = group
        self._zygote = zygote
        self._made = made
        self._limits = limits
        self._memory_poll_bytes = memory_poll_bytes
        self._standby: Waiting | None = standby
        self._mounted = False
        self._mounting = anyio.Lock()
        self._loop = asyncio.get_running_loop()
        self._processes: dict[int, JailedProcess] = {}
        self._numbers = {standby.number}
        self._seen = (0, 0)
        self._worked = False
        self._memory_watch: socket.socket | None = None
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._ending = ExitReason.UNKNOWN
        self._files = JailedFiles(self)
        self.uplink: Uplink | None = None
        self._loop.add_reader(made.pidfd, self._died, "crash")
        self._freezer = freezer
        self._still = False
        self._starting = 0
        self._none_starting = anyio.Event()
        self._patience: asyncio.TimerHandle | None = None
        if spec.persistent:
            self._patience = self._loop.call_later(STANDBY_S, self._spare)

    @property
    def id(self) -> str:
        return self.spec.id

    @property
    def files(self) -> JailedFiles:
        return self._files

    @property
    def pidfd(self) -> int:
        """Its first process, as long as it is open."""
        return self._made.pidfd

    @property
    def addresses(self) -> Sequence[str]:
        return () if self.uplink is None else self.uplink.addresses

    async def denied(self) -> int:
        return 0 if self.uplink is None else await self.uplink.denied()

    def check_network(self, policy: NetworkPolicy) -> None:
        if self.uplink is None and policy.mode != "none":
            raise Conflict(
                f"Sandbox {self.id} was started without a network: stop it, and it starts with one."
            )

    async def set_network(self, policy: NetworkPolicy) -> None:
        self.check_network(policy)
        if self.uplink is not None:
            await self.uplink.change(policy)

    @property
    def busy(self) -> bool:
        """Whether a program runs in it."""
        return bool(self._processes)

    def cpu_s(self) -> float | None:
        return self.group.cpu_s()

    async def ended(self) -> str:
        return await asyncio.shield(self._ended)

    def watch(self, path: str) -> AsyncGenerator[Change, None]:
        return self._files.watch(path)

    async def dial(self, port: int) -> SocketConnection:
        return await dial(self, port)

    # programs
    async def start(self, spec: ProcessSpec) -> JailedProcess:
        if self._ended.done():
            raise BackendFault("The sandbox has ended.", sandbox_id=self.id)
        if self._still:
            raise Conflict(f"Sandbox {self.id} is paused.")
        self._starting += 1
        try:
            return await self._start(spec)
        finally:
            self._starting -= 1
            self._none_starting.set()

    async def _start(self, spec: ProcessSpec) -> JailedProcess:
        header, blob = order(spec, self.spec.env)
        header["cold"] = self.spec.image != HOST  # its python3 is its own
        self._watch_memory()
        return await started(self, spec, (header, blob), lambda: self._confined(spec), self._adopt)

    async def _confined(self, spec: ProcessSpec) -> tuple[Waiting, int]:
        """A process that waits to become that program, and its pid. The first one mounts /proc."""
        if not self._mounted:
            async with self._mounting:
                if not self._mounted:
                    return await self._first(spec)
        one = self._fork(spec.tty)
        return one, await one.pid(self.id)

    async def _first(self, spec: ProcessSpec) -> tuple[Waiting, int]:
        """It stays until it has spoken, whoever gives up meanwhile: two must not mount at once."""
        one = self._standby = self._standby or self._fork(None, first=True)
        try:
            while one.said() is None:
                await anyio.wait_readable(one.sock)
        except anyio.ClosedResourceError:
            raise BackendFault("The sandbox has ended.", sandbox_id=self.id) from None
        self._standby = None
        pid = await one.pid(self.id)
        self._mounted = True
        if spec.tty is None:
            return one, pid
        one.close()
        one = self._fork(spec.tty)
        return one, await one.pid(self.id)

    def _spare(self) -> None:
        """Let go of the program that waits in a kept sandbox, once it has mounted /proc."""
        one = self._standby
        if one is None:
            return
        said = None if self._mounting.locked() else one.said()
        if said is None:
            self._patience = self._loop.call_later(STANDBY_S, self._spare)
            return
        if not said.isdigit():
            return  # it failed, and /proc is not mounted: whoever starts a program hears of it
        self._standby, self._mounted = None, True
        one.close()
        self._numbers.discard(one.number)
        self._zygote.forget(one.number)

    def _fork(self, tty: TtySize | None, *, first: bool = False) -> Waiting:
        if self._ended.done():
            raise BackendFault("The sandbox has ended.", sandbox_id=self.id)
        number, report = self._zygote.expect()
        self._numbers.add(number)
        one, theirs = waiting(number, report, tty=tty is not None)
        request: Header = {
            "op": "start", "id": self.id, "n": number, "first": first, **self._limits,
        }  # fmt: skip
        if tty is not None:
            request["tty"] = {"rows": tty.rows, "cols": tty.cols}
        try:
            with self.group.entries() as groups:
                self._zygote.tell(request, (self._made.pidfd, *theirs, *groups))
        except BaseException:
            one.close()
            raise
        finally:
            for fd in theirs:
                os.close(fd)
        return one

    def _adopt(self, one: Waiting, process: JailedProcess) -> None:
        if self._ended.done():
            process.lost(self._ending)
            return
        self._processes[one.number] = process
        one.report.add_done_callback(lambda done: self._exited(one.number, done))

    def _exited(self, number: int, report: "asyncio.Future[Header]") -> None:
        if self._ended.done() or self._ending is ExitReason.CANCELLED:
            return  # it is lost, not ended
        header = report.result()
        if header["status"] == signal.SIGKILL and _readable(self._made.pidfd):
            self._died("crash")
            return
        self._hear_memory()
        self._numbers.discard(number)
        process = self._processes.pop(number, None)
        if process is not None:
            process.exited(header)

    def work(self, header: dict[str, Any], sock: int | None = None) -> None:
        """Have a worker do something inside, without waiting; with a socket it joins the groups."""
        if self._ended.done():
            raise BackendFault("The sandbox has ended.", sandbox_id=self.id)
        self._worked = True
        request = {"op": "work", "id": self.id, "n": 0, **header}
        if sock is None:
            self._zygote.tell(request, (self._made.pidfd,))
            return
        with self.group.entries() as groups:
            self._zygote.tell(request, (self._made.pidfd, sock, *groups))

    def new_evidence(self) -> tuple[bool, bool]:
        now = (self.group.oom_kills(), self.group.pids_refused())
        before, self._seen = self._seen, now
        return now[0] > before[0], now[1] > before[1]

    def disk_full(self) -> bool:
        """Whether there is no room left, in bytes or in files."""
        try:
            found = os.fstatvfs(self._made.disk)
        except OSError:
            return False
        return found.f_bavail == 0 or found.f_favail == 0

    # standing still
    async def pause(self) -> None:
        if self._still:
            return
        if not self._freezer.there:
            raise Unsupported("This host has no freezer that we may use.")
        self._still = True
        try:
            with anyio.fail_after(START_S):
                while self._starting:
                    self._none_starting = anyio.Event()
                    await self._none_starting.wait()
            await self._freezer.freeze()
            for process in self._processes.values():
                process.stand_still()
        except BaseException as error:
            await self.resume()
            if isinstance(error, TimeoutError):
                raise BackendFault("A program does not get started.", sandbox_id=self.id) from error
            raise

    async def resume(self) -> None:
        if self._still:
            await to_thread.run_sync(self._freezer.thaw)
            for process in self._processes.values():
                process.go_on()
            self._still = False

    def over_disk(self) -> None:
        """More is on disk than may be: end what runs."""
        if self._still:
            return
        for process in list(self._processes.values()):
            process.end(ExitReason.DISK)

    # memory, where no cgroup bounds it
    def _watch_memory(self) -> None:
        if not self._memory_poll_bytes or self._memory_watch is not None:
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # noqa: FBT003
        self._memory_watch = ours
        self._loop.add_reader(ours.fileno(), self._hear_memory)
        with theirs:
            self.work({"work": "memory", "bytes": self._memory_poll_bytes}, theirs.fileno())

    def _hear_memory(self) -> None:
        """The watcher says that there is too much, or has ended because nothing ran."""
        if self._memory_watch is None:
            return
        try:
            said = self._memory_watch.recv(16)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if said:
            for process in self._processes.values():
                process.over_memory()
            return
        self._end_memory_watch()
        if self._processes:
            try:
                self._watch_memory()
            except BackendFault:
                self.kill()  # rather than let it run unwatched

    def _end_memory_watch(self) -> None:
        if self._memory_watch is not None:
            self._loop.remove_reader(self._memory_watch.fileno())
            self._memory_watch.close()
            self._memory_watch = None

    # the end
    def _died(self, why: str) -> None:
        if self._ended.done():
            return
        self._loop.remove_reader(self._made.pidfd)
        if self._ending is ExitReason.CANCELLED:
            why = "closed"
        elif self.new_evidence()[0]:
            why, self._ending = "memory", ExitReason.MEMORY
        self._ended.set_result(why)
        for process in list(self._processes.values()):
            process.lost(self._ending)
        self._processes.clear()

    def kill(self) -> None:
        """End every process in it; what happens next is seen as its end."""
        if self._ended.done():
            return
        with contextlib.suppress(ProcessLookupError, OSError):
            signal.pidfd_send_signal(self._made.pidfd, signal.SIGKILL)

    async def close(self) -> None:
        """Kill everything, wait until the kernel has ended it, and let go of all that it held."""
        self._ending = ExitReason.CANCELLED
        self.kill()
        if self._still:  # what is frozen does not die
            await to_thread.run_sync(self._freezer.thaw)
        if self._worked:
            with contextlib.suppress(BackendFault):
                self._zygote.tell({"op": "end", "id": self.id}, ())
        self._end_memory_watch()
        if self._patience is not None:
            self._patience.cancel()
        with anyio.move_on_after(DIE_S):
            await self.ended()
        self._died("closed")
        if self._standby is not None:
            anyio.notify_closing(self._standby.sock)
            self._standby.close()
            self._standby = None
        for number in self._numbers:
            self._zygote.forget(number)
        for fd in self._made:
            os.close(fd)


def _readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
