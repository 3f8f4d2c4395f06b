"""Commands on their way to the service, and what is said of how they ended."""

import math
from collections.abc import Mapping, Sequence

from atoll.core.model import Exit, ExitReason, ProcessSpec
from atoll.core.records import SandboxRecord
from atoll.dialects.agentkernel.errors import AgentKernelError, BadRequest, CommandFailed
from atoll.dialects.agentkernel.schemas import ExecIn, RunIn, check_command, native
from atoll.dialects.agentkernel.state import State
from atoll.dialects.agentkernel.words import variables
from atoll.http.errors import printable
from atoll.http.schemas.execution import RunRequest
from atoll.http.schemas.process import ExecRequest
from atoll.service.execution import Execution

HOST = "host"
_FORBIDDEN = 403
_SIGNALLED = 128
_KILLED = 137
# What `timeout`, a shell and the kernel's killer of processes would say.
_CODES = {ExitReason.WALL_TIME: 124, ExitReason.CPU_TIME: 124}
_REASONS = {
    ExitReason.WALL_TIME: "Command timed out",
    ExitReason.CPU_TIME: "Command used up its CPU time",
    ExitReason.MEMORY: "Command ran out of memory",
    ExitReason.OUTPUT: "Command printed too much",
    ExitReason.PIDS: "Command started too many processes",
    ExitReason.DISK: "Command filled the disk",
}


def execution(
    here: State,
    command: Sequence[str],
    asked: RunIn | None = None,
    env: Mapping[str, str] | None = None,
) -> Execution:
    """A one-shot. `image` counts only without `fast`; a profile that nobody knows is the default.

    A Python command needs nothing here: what starts programs knows it and forks it warm.
    """
    check_command(list(command))
    profile = asked.profile.lower() if asked is not None and asked.profile else None
    image = None
    if asked is not None and not asked.fast:
        image = asked.image or here.services.images.detect(command)
    request = native(
        RunRequest,
        argv=tuple(command),
        image=image or HOST,
        profile=profile if profile in here.profiles else None,
        timeout_s=here.timeout_s,
        env=dict(env or {}),
    )
    return here.front.translator.execution(request)


async def program(here: State, body: ExecIn, record: SandboxRecord) -> ProcessSpec:
    """A command in a sandbox that is there."""
    check_command(body.command)
    if body.sudo:
        raise AgentKernelError(_FORBIDDEN, "sudo is not allowed: sandboxes here have no root")
    more = {} if body.workdir is None else {"cwd": body.workdir}
    request = native(
        ExecRequest,
        argv=tuple(body.command),
        env=variables(body.env or ()),
        timeout_s=here.timeout_s,
        **more,
    )
    spec, _ = await here.front.translator.program(request, record)
    return spec


def exit_code(end: Exit) -> int:
    """One number for every end, as a shell would have it."""
    if end.code is not None:
        return end.code
    if end.reason is ExitReason.SIGNAL and end.signal:
        return _SIGNALLED + end.signal
    return _CODES.get(end.reason, _KILLED)


def failure(end: Exit, output: str) -> CommandFailed | None:
    """What went wrong with it; None for a success."""
    code = exit_code(end)
    if not code:
        return None
    why = _REASONS.get(end.reason)
    text = f"{why}: {output}" if why else f"Command exited with code {code}: {output}"
    return CommandFailed(text, code, output)


def printed(stdout: bytes, stderr: bytes) -> str:
    """Both, joined; what is not UTF-8 is marked."""
    return stdout.decode("utf-8", "replace") + stderr.decode("utf-8", "replace")


def whole_cpus(cpus: float) -> int:
    """A number of CPUs where only whole ones can be said."""
    return math.ceil(cpus)


def create_profile(here: State, name: str | None) -> str | None:
    """A profile in any case; `BadRequest` with those that there are."""
    if name is None:
        return None
    if name.lower() not in here.profiles:
        names = ", ".join(here.profiles)
        raise BadRequest(f"Invalid profile '{printable(name)[:80]}'. Use: {names}")
    return name.lower()
