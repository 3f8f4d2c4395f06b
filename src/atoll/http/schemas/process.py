"""Programs in a persistent sandbox."""

import signal as signals
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from atoll.http.schemas.execution import FUNCTION, Code, Function, Program, Seconds
from atoll.http.schemas.result import ExitOut, UsageOut
from atoll.http.schemas.words import (
    AnswerModel,
    Argument,
    GuestPath,
    RequestModel,
    TextEncoding,
    Word,
    no_nul,
)

Cells = Annotated[int, Field(ge=1, le=10_000)]


class TtyIn(RequestModel):
    """A terminal's size in character cells."""

    rows: Cells = 24
    cols: Cells = 80


class ExecRequest(Program):
    """A command, or code in a language, in a sandbox that is there."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"argv": ["ls", "-l"]}]})

    argv: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=4096)] | None = None
    command: Annotated[Argument, StringConstraints(min_length=1)] | None = Field(
        default=None, description="A line for the shell."
    )
    function: Function | None = FUNCTION
    language: Word | None = None
    code: Code | None = None
    entry: GuestPath | None = Field(
        default=None, description="The file to run, of `files` or there."
    )
    cpu_s: Seconds | None = None
    output_bytes: Annotated[int, Field(ge=1, le=1024**3)] | None = None

    @model_validator(mode="after")
    def _one_program(self) -> Self:
        given = [self.argv is not None, self.command is not None, self.language is not None]
        if sum(given) != 1:
            raise ValueError("give argv, command or language, one of the three")
        if self.argv is not None and not self.argv[0]:
            raise ValueError("argv[0] must not be empty")
        if self.language is None and (self.code is not None or self.entry is not None):
            raise ValueError("code and entry need a language")
        if self.language is not None and self.code is None and self.entry is None:
            raise ValueError("give code or entry with a language")
        if self.function is not None and self.argv is None:
            raise ValueError("function needs argv, whose first word is the module")
        if self.code is not None:
            no_nul(self.code)
        return self


class StartRequest(ExecRequest):
    """A program that goes on when the client goes."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"argv": ["sh"], "tty": {"rows": 24, "cols": 80}}]}
    )

    @model_validator(mode="after")
    def _no_value(self) -> Self:
        if self.structured:
            raise ValueError("a program that goes on cannot give back a value")
        return self

    tty: TtyIn | None = Field(
        default=None, description="Give it a terminal (then input is always open)."
    )
    stdin_open: bool = Field(default=False, description="Keep its input open for `…/stdin`.")


class SignalRequest(RequestModel):
    """A signal, by name or number."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"signal": "SIGTERM"}]})

    signal: Annotated[int, Field(ge=1, le=64)] | Literal[
        "SIGHUP", "SIGINT", "SIGQUIT", "SIGABRT", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGPIPE",
        "SIGALRM", "SIGTERM", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU",
        "SIGWINCH",
    ]  # fmt: skip

    @property
    def number(self) -> int:
        """What the kernel calls it."""
        if isinstance(self.signal, int):
            return self.signal
        return int(signals.Signals[self.signal])


class ProcessOut(AnswerModel):
    """A program in a persistent sandbox; kept, with its exit, as long as the sandbox."""

    pid: int = Field(description="Counts up from 1 within the sandbox, never used twice.")
    sandbox_id: str
    argv: list[str]
    cwd: str
    tty: bool
    background: bool
    started_at: float
    ended_at: float | None
    exit: ExitOut | None = Field(description="Null while it runs.")


class ProcessList(AnswerModel):
    """All that were ever started in the sandbox, by pid."""

    items: list[ProcessOut]


class ExecEndOut(ExitOut):
    """The last event of a stream in a sandbox."""

    id: str
    pid: int | None
    backend: str


class ExecResultOut(ExitOut):
    """The result of a program in a persistent sandbox; `id` is the sandbox's."""

    id: str
    stdout: str
    stderr: str
    encoding: TextEncoding
    usage: UsageOut
