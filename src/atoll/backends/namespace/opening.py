"""Make one sandbox: groups, sockets and pipes, a clone of the zygote, and all of it undone."""

import contextlib
import os
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import anyio

from atoll.backends.namespace.disk import Stack
from atoll.backends.namespace.sandbox import NamespaceSandbox, Standby
from atoll.core.errors import BackendFault
from atoll.core.model import SandboxSpec
from atoll.jail.cgroups import Group, Hierarchy
from atoll.jail.spawn import Zygote
from atoll.wire.message import Header

_REMOVE_TRIES = 50


@dataclass(frozen=True)
class _Ends:
    """Descriptors made for a sandbox: ours, and theirs which the zygote passes on."""

    control: socket.socket
    standby: Standby | None
    theirs: list[int]


@contextlib.asynccontextmanager
async def opened(
    spec: SandboxSpec, zygote: Zygote, hierarchy: Hierarchy, stack: Stack | None
) -> AsyncGenerator[NamespaceSandbox, None]:
    """A ready sandbox for the length of the block. Nothing of it outlives the block."""
    group = Group(hierarchy, spec.id)
    try:
        try:
            group.make(spec.limits)
        except OSError as error:
            raise BackendFault(
                f"No cgroup could be made: {error.strerror}", sandbox_id=spec.id
            ) from error
        sandbox = await _spawned(spec, zygote, group, hierarchy, stack)
        try:
            await sandbox.ready()
            yield sandbox
        finally:
            with anyio.CancelScope(shield=True):
                await sandbox.close()
    finally:
        group.close()
        with anyio.CancelScope(shield=True):
            await _removed(group)


async def _spawned(
    spec: SandboxSpec, zygote: Zygote, group: Group, hierarchy: Hierarchy, stack: Stack | None
) -> NamespaceSandbox:
    ends = _ends(standby=stack is None)
    try:
        fds = (*ends.theirs, *group.fds)
        # Shielded: a cancelled request would leave a sandbox whose pidfd nobody received.
        pidfd = -1
        with anyio.CancelScope(shield=True):
            pidfd = await zygote.spawn(_request(spec, hierarchy, stack), fds)
    except BaseException:
        ends.control.close()
        if ends.standby is not None:
            ends.standby.close()
        raise
    finally:
        for fd in ends.theirs:
            os.close(fd)
        group.close()
    return NamespaceSandbox(spec, ends.control, pidfd, group, ends.standby)


def _ends(*, standby: bool) -> _Ends:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)  # noqa: FBT003
    if not standby:
        return _Ends(ours, None, [theirs.detach()])
    sock, sock_theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.setblocking(False)  # noqa: FBT003
    stdin, stdin_write = os.pipe2(os.O_CLOEXEC)
    stdout, stdout_write = os.pipe2(os.O_CLOEXEC)
    stderr, stderr_write = os.pipe2(os.O_CLOEXEC)
    for fd in (stdin_write, stdout, stderr):
        os.set_blocking(fd, False)
    passed = [theirs.detach(), sock_theirs.detach(), stdin, stdout_write, stderr_write]
    return _Ends(ours, Standby(sock, stdin_write, stdout, stderr), passed)


def _request(spec: SandboxSpec, hierarchy: Hierarchy, stack: Stack | None) -> Header:
    limits = spec.limits
    bounded = hierarchy.has("memory")
    kept = None
    if stack is not None:
        kept = {
            "directory": f"layers/{stack.upper}",
            "layers": [f"layers/{name}/fs" for name in stack.layers],
        }
    return {
        "op": "spawn",
        "id": spec.id,
        "standby": stack is None,
        "kept": kept,
        "hostname": spec.hostname,
        "disk_bytes": limits.disk_bytes,
        "disk_files": limits.disk_files,
        "open_files": limits.open_files,
        "nproc": limits.processes,
        "data_bytes": 0 if bounded else 2 * limits.memory_bytes,
        "memory_poll_bytes": 0 if bounded else limits.memory_bytes,
    }


async def _removed(group: Group) -> None:
    """Remove the groups, as soon as the kernel has let the last process go."""
    for _ in range(_REMOVE_TRIES):
        if group.remove():
            return
        await anyio.sleep(0.02)
