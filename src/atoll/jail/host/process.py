"""A program in a jail: its pipes, its clock, its end."""

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

import anyio

from atoll.core.errors import BackendFault, Conflict, InvalidRequest
from atoll.core.model import Channel, Exit, ExitReason, ProcessSpec, Usage
from atoll.jail.host.output import Output
from atoll.jail.host.verdict import Evidence, judge

# After the program has ended, how long its own children may go on writing to its pipes.
LINGER_S = 0.05
KILL_S = 3.0
_CPU_POLL_S = 0.02
_EOT = b"\x04"
_SIGNAL_MAX = 64
# How long what has said that it has ended may take to end.
_PARTED_S = 1.0


class Home(Protocol):
    """What a process needs of its sandbox."""

    def cpu_s(self) -> float | None:
        """Processor time of all that ever ran in it; None where nothing counts it."""
        ...

    def new_evidence(self) -> tuple[bool, bool]:
        """Whether memory ran out, and whether a fork was refused, since this was last asked."""
        ...

    def disk_full(self) -> bool:
        """Whether its disk has no room left."""
        ...

    def work(self, header: dict[str, Any], sock: int | None = None) -> None:
        """Have a worker do something inside, without waiting."""
        ...

    def kill(self) -> None:
        """End the whole sandbox now."""
        ...


class JailedProcess:
    """Implements `core.ports.Process`."""

    def __init__(
        self, home: Home, spec: ProcessSpec, pid: int, pipes: dict[int, Channel], stdin: int | None
    ) -> None:
        self._home = home
        self._spec = spec
        self._pid = pid
        self._loop = asyncio.get_running_loop()
        self._began = time.monotonic()
        self._output = Output(pipes, spec.output_bytes, self._over_output, spec.keep_bytes)
        self._tty = next(iter(pipes)) if spec.tty is not None else None
        self._stdin = stdin
        self._exit: asyncio.Future[Exit] = self._loop.create_future()
        self._verdict: ExitReason | None = None
        self._over_memory = False
        self._timers: list[asyncio.TimerHandle] = []
        self._cpu = 0.0
        self._stood: float | None = None
        self._arm()

    @property
    def pid(self) -> int:
        return self._pid

    def output(self) -> AsyncGenerator[tuple[Channel, bytes], None]:
        return self._output.chunks()

    async def wait(self) -> Exit:
        return await asyncio.shield(self._exit)

    # limits
    def over_memory(self) -> None:
        """Its sandbox has used too much, and is being ended for it."""
        self._over_memory = True

    def rearm(self, spec: ProcessSpec) -> None:
        if self._exit.done() or self._verdict is not None:
            return
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._spec = spec
        self._began = time.monotonic()
        self._output.allow(spec.output_bytes)
        self._arm()

    def await_farewell(self, nonce: str | None) -> None:
        """Believe it when it says that it has ended well, and see that it has, soon."""
        if nonce is not None:
            self._output.await_farewell(nonce, self._parted)

    def _parted(self, cpu_s: float, peak_bytes: int) -> None:
        if self._exit.done() or self._verdict is not None or self._over_memory:
            return
        self._output.drain()
        usage = Usage(self._wall_s(), cpu_s, peak_bytes)
        truncated = self._output.truncated
        self._settle(Exit(0, ExitReason.EXITED, truncated=truncated, usage=usage))
        self._output.finish()
        self._timers.append(self._loop.call_later(_PARTED_S, self._see_off))

    def _see_off(self) -> None:
        """It has not ended yet, though it said so."""
        with contextlib.suppress(BackendFault):
            self._home.work({"work": "kill", "pid": self._pid})

    def rest(self) -> Sequence[tuple[Channel, bytes]]:
        self._output.drain()
        return self._output.rest()

    def stand_still(self) -> None:
        """Its sandbox is frozen: no time passes for it."""
        if self._exit.done() or self._stood is not None:
            return
        self._stood = time.monotonic()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    def go_on(self) -> None:
        """Its sandbox is not frozen any more: what was left of its time is left now."""
        if self._stood is None:
            return
        self._began += time.monotonic() - self._stood
        self._stood = None
        if self._exit.done():
            return
        if self._verdict is not None:
            self._timers.append(self._loop.call_later(KILL_S, self._give_up))
            return
        left = self._spec.wall_s - self._wall_s()
        self._timers.append(self._loop.call_later(left, self.end, ExitReason.WALL_TIME))
        if self._spec.cpu_s < self._spec.wall_s:
            self._timers.append(self._loop.call_later(_CPU_POLL_S, self._check_cpu))

    def _wall_s(self) -> float:
        return (self._stood or time.monotonic()) - self._began

    def _arm(self) -> None:
        spec = self._spec
        self._timers.append(self._loop.call_later(spec.wall_s, self.end, ExitReason.WALL_TIME))
        if spec.cpu_s < spec.wall_s:
            self._cpu = self._home.cpu_s() or 0.0
            self._timers.append(self._loop.call_later(spec.cpu_s / 2, self._check_cpu))

    def _over_output(self) -> None:
        self.end(ExitReason.OUTPUT)

    def _check_cpu(self) -> None:
        if self._exit.done():
            return
        used = self._home.cpu_s()
        if used is None:
            return
        left = self._spec.cpu_s - (used - self._cpu)
        if left <= 0:
            self.end(ExitReason.CPU_TIME)
        else:
            pause = max(_CPU_POLL_S, left / 2)
            self._timers.append(self._loop.call_later(pause, self._check_cpu))

    def end(self, reason: ExitReason) -> None:
        """Kill the program and all that it started, for that reason. The first reason stands."""
        if self._exit.done() or self._verdict is not None:
            return
        self._verdict = reason
        with contextlib.suppress(BackendFault):
            self._home.work({"work": "kill", "pid": self._pid})
        self._timers.append(self._loop.call_later(KILL_S, self._give_up))

    def _give_up(self) -> None:
        if not self._exit.done():
            self._home.kill()

    # its end
    def exited(self, report: dict[str, Any]) -> None:
        """The zygote has seen it end."""
        for timer in self._timers:
            timer.cancel()
        self._output.drain()
        usage = Usage(
            wall_s=self._wall_s(),
            cpu_s=float(report["cpu_s"]),
            peak_memory_bytes=int(report["peak"]),
        )
        status = int(report["status"])
        evidence = Evidence(verdict=self._verdict)
        if status != 0 and self._verdict is None:
            memory, pids = self._home.new_evidence()
            evidence = Evidence(
                out_of_memory=self._over_memory or memory,
                pids_refused=pids,
                disk_full=self._home.disk_full(),
                last_words=self._output.tail,
            )
        elif self._over_memory:
            evidence = Evidence(verdict=ExitReason.MEMORY)
        self._settle(judge(status, evidence, usage, truncated=self._output.truncated))
        if self._output.open:
            self._timers.append(self._loop.call_later(LINGER_S, self._output.finish))
        else:
            self._output.finish()

    def lost(self, reason: ExitReason) -> None:
        """The sandbox has ended, and the program with it."""
        if not self._exit.done():
            self._output.drain()
            usage = Usage(wall_s=self._wall_s())
            evidence = Evidence(verdict=self._verdict or reason)
            self._settle(judge(None, evidence, usage, truncated=self._output.truncated))
        self.close()

    def _settle(self, result: Exit) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if not self._exit.done():
            self._exit.set_result(result)
        self._shut_stdin()

    def close(self) -> None:
        """Let go of pipes and timers; the sandbox is going."""
        for timer in self._timers:
            timer.cancel()
        self._output.close()
        self._shut_stdin()

    def _shut_stdin(self) -> None:
        if self._stdin is not None:
            fd, self._stdin = self._stdin, None
            os.close(fd)

    # its input
    async def write_stdin(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            fd = self._stdin
            if fd is None:
                raise Conflict("The process has no open stdin.")
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                with contextlib.suppress(OSError, anyio.ClosedResourceError):
                    with anyio.move_on_after(1.0):
                        await anyio.wait_writable(fd)
            except OSError as error:
                raise Conflict("The process has closed its stdin.") from error

    async def close_stdin(self) -> None:
        if self._tty is not None:
            with contextlib.suppress(Conflict):
                await self.write_stdin(_EOT)
            return
        if self._stdin is not None:
            anyio.notify_closing(self._stdin)
        self._shut_stdin()

    async def signal(self, number: int) -> None:
        if not 1 <= number <= _SIGNAL_MAX:
            raise InvalidRequest(f"There is no signal {number}.", field="signal")
        if not self._exit.done():
            self._home.work({"work": "signal", "pid": self._pid, "signal": int(number)})

    async def resize(self, rows: int, cols: int) -> None:
        if self._tty is None:
            raise Conflict("The process has no terminal.")
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._tty, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
