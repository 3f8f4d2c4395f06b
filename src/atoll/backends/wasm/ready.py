"""A worker started before anybody needed it, and how it is told what to run."""

import errno
import json
import time
from secrets import token_hex

import anyio

from atoll.backends.wasm.farewell import Chunks, Farewell
from atoll.core.errors import AtollError, BackendFault, InvalidRequest, QuotaExceeded
from atoll.core.model import MIB, Channel, ProcessSpec
from atoll.core.ports import Process, Rearmable, Sandbox

ENTER = ("atoll-wasm",)
IDLE_S = 7 * 86_400.0
_ANSWER_S = 20.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Its own answer, before what the module may write is counted.
_ANSWER_BYTES = MIB


class Ready:
    """Runs one command, once."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, box: Sandbox, words: list[str]) -> "Ready":
        """Start one that rehearses the command `words` while nobody asks for anything."""
        process = await box.start(
            ProcessSpec(
                (*ENTER, "--wait", *words),
                stdin=True,
                wall_s=IDLE_S,
                cpu_s=IDLE_S,
                output_bytes=_ANSWER_BYTES,
            )
        )
        if not isinstance(process, Rearmable):
            await process.signal(9)
            raise BackendFault("Processes of these workers cannot wait.")
        return cls(process)

    async def run(self, spec: ProcessSpec, words: list[str]) -> tuple[Process, Chunks, Farewell]:
        """Tell it; the process, its output, and what it says at its end.

        Raises for a bad directory, and for bad files.
        """
        nonce, began = token_hex(16), time.monotonic()
        header = {
            "words": ["--farewell", nonce, *words],
            "cwd": spec.cwd,
            "cpu_s": min(spec.cpu_s, IDLE_S),
            "files": [[path, len(data)] for path, data in spec.files.items()],
        }
        text = json.dumps(header).encode()
        frame = b"".join((len(text).to_bytes(4, "big"), text, *spec.files.values()))
        process = self._process
        try:
            with anyio.fail_after(_ANSWER_S):
                await process.write_stdin(frame)
                output = process.output()
                _, said = await anext(output, (Channel.STDOUT, b""))
            if said[:1] != b"+":
                raise _refusal(said, spec)
        except (TimeoutError, AtollError) as error:
            await process.signal(9)
            if isinstance(error, (InvalidRequest, QuotaExceeded, BackendFault)):
                raise
            raise BackendFault("A waiting worker did not answer.") from error
        assert isinstance(process, Rearmable)  # noqa: S101
        process.rearm(spec)
        if not spec.stdin:
            await process.close_stdin()
        farewell = Farewell(nonce, process, began)
        return process, farewell.until(said[1:], output), farewell

    async def drop(self) -> None:
        """It will not be needed."""
        await self._process.signal(9)


def _refusal(said: bytes, spec: ProcessSpec) -> AtollError:
    try:
        report = json.loads(said[1:])
        stage, number, detail = report["stage"], report["errno"], str(report["detail"])
    except (ValueError, KeyError, TypeError):
        text = said.decode("utf-8", "replace")[-300:]
        return BackendFault(f"A waiting worker gave no answer: {text!r}")
    if stage == "cwd":
        return InvalidRequest(f"The working directory {spec.cwd!r}: {detail}.", field="cwd")
    if number in _FULL:
        return QuotaExceeded("The files do not fit into the sandbox's disk.")
    return InvalidRequest(f"The files could not be written: {detail}.", field="files")
