"""Make one sandbox: groups, namespaces, a program that waits, and all of it undone."""

import contextlib
import os
from collections.abc import AsyncGenerator
from dataclasses import replace

import anyio

from atoll.backends.namespace.disk import Stack
from atoll.backends.namespace.sandbox import NamespaceSandbox
from atoll.core.errors import BackendFault
from atoll.core.images import Image
from atoll.core.model import SandboxSpec
from atoll.jail.cgroups import Group, Hierarchy
from atoll.jail.freezer import Freezer
from atoll.jail.host.waiting import waiting
from atoll.jail.spawn import Made, Zygote
from atoll.wire.message import Header

_REMOVE_TRIES = 50
# Without groups the memory in use is counted. What may be reserved is more: V8 takes half a GiB
# of addresses for its code before it runs any.
_RESERVED = 1024**3


@contextlib.asynccontextmanager
async def opened(
    spec: SandboxSpec,
    zygote: Zygote,
    hierarchy: Hierarchy,
    stack: Stack | None,
    image: Image | None = None,
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
        sandbox = await _spawned(spec, zygote, group, hierarchy, stack, image)
        try:
            yield sandbox
        finally:
            with anyio.CancelScope(shield=True):
                await sandbox.close()
    finally:
        with anyio.CancelScope(shield=True):
            await removed(group)


async def _spawned(
    spec: SandboxSpec,
    zygote: Zygote,
    group: Group,
    hierarchy: Hierarchy,
    stack: Stack | None,
    image: Image | None,
) -> NamespaceSandbox:
    """A program waits in it already: for long in fresh ones, for a moment in kept ones."""
    limits = _limits(spec, hierarchy)
    number, report = zygote.expect()
    standby, theirs = waiting(number, report, tty=False)
    start = {
        "op": "start",
        "id": spec.id,
        "n": number,
        "first": True,
        "rehearse": stack is None and image is None,
        **limits,
    }
    try:
        # Shielded: a cancelled request would leave a sandbox whose pidfd nobody received.
        made = Made(-1, -1)
        with group.entries() as groups, anyio.CancelScope(shield=True):
            request = {**_request(spec, stack, image), "start": start}
            made = await zygote.make(request, (*theirs, *groups))
    except BaseException:
        standby.close()
        zygote.forget(number)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    poll_bytes = 0 if hierarchy.has("memory") else spec.limits.memory_bytes
    if image is not None:
        spec = replace(spec, env={**_own(image), **spec.env})
    freezer = Freezer(hierarchy, spec.id)
    return NamespaceSandbox(spec, zygote, made, group, limits, poll_bytes, standby, freezer)


def _own(image: Image) -> dict[str, str]:
    """The image's variables, over what every program finds. The user's home stays ours."""
    return {"SHELL": "/bin/sh", **image.env, "HOME": "/home/user"}


def _request(spec: SandboxSpec, stack: Stack | None, image: Image | None) -> Header:
    kept = None
    if stack is not None:
        kept = {
            "directory": f"layers/{stack.upper}",
            "layers": [f"layers/{name}/fs" for name in stack.layers],
        }
    return {
        "op": "make",
        "id": spec.id,
        "kept": kept,
        "read_only": spec.read_only_root,
        "image": [] if image is None else list(image.layers),
        "hostname": spec.hostname,
        "disk_bytes": spec.limits.disk_bytes,
        "disk_files": spec.limits.disk_files,
    }


def _limits(spec: SandboxSpec, hierarchy: Hierarchy) -> Header:
    """What each program is held to by its own resource limits."""
    limits = spec.limits
    return {
        "open_files": limits.open_files,
        "disk_bytes": limits.disk_bytes,
        "nproc": limits.processes,
        "data_bytes": 0 if hierarchy.has("memory") else max(2 * limits.memory_bytes, _RESERVED),
    }


async def removed(group: Group) -> None:
    """Remove the groups, as soon as the kernel has let the last process go."""
    for _ in range(_REMOVE_TRIES):
        if group.remove():
            return
        await anyio.sleep(0.02)
