"""A confined process that waits inside a sandbox to be told what to become: the server's side."""

import asyncio
import contextlib
import errno
import json
import os
import socket
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, cast

import anyio

from atoll.core.errors import AtollError, BackendFault, Conflict, InvalidRequest, QuotaExceeded
from atoll.core.model import Channel, ProcessSpec
from atoll.jail.launch import ENVIRONMENT
from atoll.wire.message import BadMessage, Header, send

INLINE_MAX = 24 * 1024
_HELLO_MAX = 500
_REPORT_MAX = 8192
_ONE_FD = socket.CMSG_LEN(4)


@dataclass(slots=True)
class Waiting:
    """Its socket, its standard streams (none with a terminal), and the report of its end."""

    sock: socket.socket
    streams: list[int]
    number: int
    report: asyncio.Future[Header]

    async def pid(self, sandbox_id: str) -> int:
        """Its pid, once it is confined; closed when it never is.

        With a terminal, `streams` holds that afterwards.
        """
        try:
            return await self._pid(sandbox_id)
        except BaseException:
            self.close()
            raise

    async def _pid(self, sandbox_id: str) -> int:
        while True:
            try:
                raw, extra, _, _ = self.sock.recvmsg(_HELLO_MAX, _ONE_FD, socket.MSG_CMSG_CLOEXEC)
                break
            except BlockingIOError:
                await anyio.wait_readable(self.sock)
        for *_, packed in extra:
            self.streams = [int.from_bytes(packed[:4], "little", signed=True)]
            os.set_blocking(self.streams[0], False)
        if not raw:
            why = (await self.report).get("detail")
            if why is not None:
                raise Conflict(f"The sandbox cannot start another process: {why}.")
            raise BackendFault("A program ended while it was confined.", sandbox_id=sandbox_id)
        if not raw.isdigit():
            said = raw.decode(errors="replace")
            raise BackendFault(f"A program could not be confined: {said}", sandbox_id=sandbox_id)
        return int(raw)

    def said(self) -> bytes | None:
        """What it says of its confinement, which `pid` then reads; None while it says nothing."""
        try:
            return self.sock.recv(_HELLO_MAX, socket.MSG_PEEK)
        except BlockingIOError:
            return None

    def plumbed(self, spec: ProcessSpec) -> tuple[dict[int, Channel], int | None]:
        """Its output pipes and its stdin, which the caller owns from now on."""
        streams, self.streams = self.streams, []
        if spec.tty is not None:
            return {streams[0]: Channel.STDOUT}, os.dup(streams[0])
        stdin, stdout, stderr = streams
        pipes = {stdout: Channel.STDOUT, stderr: Channel.STDERR}
        if spec.stdin:
            return pipes, stdin
        os.close(stdin)
        return pipes, None

    async def become(self, spec: ProcessSpec, header: Header, blob: bytes, box: str) -> None:
        """Tell it what to become and wait until it has; raises what the client must hear."""
        with _memory(blob) as (inline, fds):
            try:
                send(self.sock, header, inline, fds)
            except BadMessage as error:
                raise InvalidRequest(
                    "The command and its environment are longer than 128 KiB.", field="argv"
                ) from error
            except OSError as error:
                raise BackendFault(
                    f"The sandbox does not listen: {error.strerror}", sandbox_id=box
                ) from error
        try:
            raw = await asyncio.get_running_loop().sock_recv(self.sock, _REPORT_MAX)
        except OSError as error:  # it was killed before it had read what it was told
            raise BackendFault(
                "The sandbox ended while a program was started.", sandbox_id=box
            ) from error
        if raw:
            raise _refusal(spec, _json(raw))

    def close(self) -> None:
        """Let go of everything that is still ours."""
        self.sock.close()
        while self.streams:
            os.close(self.streams.pop())


def waiting(number: int, report: asyncio.Future[Header], *, tty: bool) -> tuple[Waiting, list[int]]:
    """The server's ends, and the other ends, for whoever sends them on and closes them."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)  # noqa: FBT003
    passed = [theirs.detach()]
    streams: list[int] = []
    if not tty:
        stdin, stdin_write = os.pipe2(os.O_CLOEXEC)
        stdout, stdout_write = os.pipe2(os.O_CLOEXEC)
        stderr, stderr_write = os.pipe2(os.O_CLOEXEC)
        streams = [stdin_write, stdout, stderr]
        for fd in streams:
            os.set_blocking(fd, False)
        passed += [stdin, stdout_write, stderr_write]
    return Waiting(ours, streams, number, report), passed


def order(spec: ProcessSpec, env: Mapping[str, str]) -> tuple[Header, bytes]:
    """What to tell it; `InvalidRequest` for what no program can be given."""
    env = {**ENVIRONMENT, **env, **spec.env}
    if spec.tty is not None:
        env.setdefault("TERM", "xterm-256color")
    for key, value in env.items():
        if not key or "=" in key or "\0" in key or "\0" in value:
            raise InvalidRequest(f"{key!r} is not an environment variable.", field="env")
    if not spec.argv:
        raise InvalidRequest("The command is empty.", field="argv")
    if any("\0" in word for word in spec.argv):
        raise InvalidRequest("The command has a NUL byte in it.", field="argv")
    header: Header = {
        "argv": spec.argv,
        "cwd": spec.cwd,
        "env": None if env == ENVIRONMENT else env,
        "files": [[path, len(data)] for path, data in spec.files.items()],
        "cpu_s": spec.cpu_s,
        "tty": spec.tty is not None,
        "farewell": None if spec.tty is not None else token_hex(8),
    }
    return header, b"".join(spec.files.values())


def _refusal(spec: ProcessSpec, report: dict[str, Any]) -> AtollError:
    stage, number = report.get("stage"), report.get("errno")
    detail = str(report.get("detail"))[:300]
    if stage == "cwd":
        return InvalidRequest(f"The working directory {spec.cwd!r}: {detail}.", field="cwd")
    if stage == "files":
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return QuotaExceeded("The files do not fit into the sandbox's disk.")
        return InvalidRequest(f"The files could not be written: {detail}.", field="files")
    word = spec.argv[0]
    if number in (errno.ENOENT, errno.ENOTDIR):
        return InvalidRequest(f"There is no program {word!r} in the sandbox.", field="argv")
    if number == errno.E2BIG:
        return InvalidRequest("The command or its environment is too long.", field="argv")
    return InvalidRequest(f"The program {word!r} cannot be run: {detail}.", field="argv")


def _json(raw: bytes) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    return {"stage": "exec", "detail": "unknown"}


@contextlib.contextmanager
def _memory(blob: bytes) -> Generator[tuple[bytes, tuple[int, ...]]]:
    """The blob inline when it is small, else in a memfd."""
    if len(blob) <= INLINE_MAX:
        yield blob, ()
        return
    fd = os.memfd_create("atoll-files", os.MFD_CLOEXEC)
    try:
        view = memoryview(blob)
        while view:
            view = view[os.write(fd, view) :]
        yield b"", (fd,)
    finally:
        os.close(fd)
