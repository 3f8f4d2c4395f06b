"""Programs of the host that do the server's own work: bounded in time and in what they say."""

import os
import shutil
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from subprocess import DEVNULL, PIPE
from tempfile import TemporaryFile
from typing import IO

import anyio
from anyio import to_thread
from anyio.abc import Process

from atoll.core.errors import BackendFault, Unavailable

SAID_MAX = 4 * 1024 * 1024
_TAIL = 2000
_DIE_S = 5.0


class ToolFailed(BackendFault):
    """A program ended with an error; the detail is the end of what it said."""


async def need(program: str, package: str) -> str:
    """Where a program is. `Unavailable` with what to install when it is nowhere."""
    found = await to_thread.run_sync(shutil.which, program)
    if found is None:
        raise Unavailable(f"{program} is needed for this: apt-get install {package}")
    return found


async def said(argv: Sequence[str], *, deadline_s: float) -> bytes:
    """What it writes to stdout, when it has ended well."""
    out = bytearray()
    async with running(argv, deadline_s=deadline_s) as process:
        assert process.stdout is not None  # noqa: S101
        async for chunk in process.stdout:
            out += chunk
            if len(out) > SAID_MAX:
                raise ToolFailed(f"{argv[0]} says more than {SAID_MAX} bytes.")
    return bytes(out)


@asynccontextmanager
async def running(argv: Sequence[str], *, deadline_s: float) -> AsyncGenerator[Process, None]:
    """It, for the length of the block, and until it ends. Raises `ToolFailed` when that is badly.

    The block reads stdout if it wants it; in the end it is killed if it still runs.
    """
    errors = await to_thread.run_sync(TemporaryFile)
    process = await anyio.open_process(argv, stdin=DEVNULL, stdout=PIPE, stderr=errors)
    try:
        with anyio.fail_after(deadline_s):
            yield process
            if process.stdout is not None:
                async for _ in process.stdout:
                    pass
            status = await process.wait()
        if status:
            told = await to_thread.run_sync(_tail, errors)
            lines = told.strip().splitlines() or [f"status {status}"]
            raise ToolFailed(f"{argv[0].rpartition('/')[2]}: {lines[-1][-500:]}")
    except TimeoutError as error:
        raise ToolFailed(f"{argv[0]} did not end within {deadline_s:g} s.") from error
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                process.kill()
            with anyio.move_on_after(_DIE_S):
                await process.wait()
            await process.aclose()
            errors.close()


def _tail(file: IO[bytes]) -> str:
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    return file.read().decode(errors="replace")
