"""One-shots: what `/v1/execute`, `/v1/run` and `/v1/batch` take and answer."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from atoll.core.model import WORKSPACE
from atoll.http.schemas.words import (
    Argument,
    Content,
    Encoded,
    Env,
    GuestPath,
    IsolationName,
    Plain,
    RequestModel,
    Secrets,
    TextEncoding,
    Word,
    no_nul,
)

GIB = 1024**3
Seconds = Annotated[float, Field(gt=0, le=7 * 86_400)]
FilesIn = Annotated[dict[GuestPath, Content], Field(max_length=1000)]


class LimitsIn(RequestModel):
    """Bounds to lay over those of the profile. The operator's own maxima hold above these."""

    memory_bytes: Annotated[int, Field(ge=8 * 1024**2, le=1024 * GIB)] | None = None
    cpus: Annotated[float, Field(ge=0.01, le=1024)] | None = None
    processes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    disk_bytes: Annotated[int, Field(ge=64 * 1024, le=64 * 1024 * GIB)] | None = None
    disk_files: Annotated[int, Field(ge=16, le=1_000_000_000)] | None = None
    open_files: Annotated[int, Field(ge=16, le=1_048_576)] | None = None


class RunLimitsIn(LimitsIn):
    """The same, with those of the one program."""

    cpu_s: Seconds | None = Field(
        default=None, description="CPU time of the program and its children."
    )
    output_bytes: Annotated[int, Field(ge=1, le=1 * GIB)] | None = Field(
        default=None, description="Of stdout and stderr together; past it the program is ended."
    )


class NetworkIn(RequestModel):
    """What may be reached. Without it: nothing but a loopback of its own."""

    mode: Literal["none", "allow", "internet"] = "none"
    allow: Annotated[tuple[Word, ...], Field(max_length=1000)] = ()
    deny: Annotated[tuple[Word, ...], Field(max_length=1000)] = ()


class Placement(RequestModel):
    """Where and under which rules something runs."""

    limits: RunLimitsIn | None = None
    profile: Word | None = Field(
        default=None, description="A named set of limits: `GET /v1/profiles`."
    )
    backend: Word | None = Field(default=None, description="One of `GET /v1/backends`.")
    min_isolation: IsolationName | None = Field(
        default=None,
        description="The least isolation that is accepted. Never weakened: refused instead.",
    )
    image: Word = Field(default="host", description="The root file system.")
    network: NetworkIn | None = None
    preload: Annotated[tuple[Word, ...], Field(max_length=64)] = Field(
        default=(),
        description="Python modules to have imported already; a set that the operator offers.",
    )

    @model_validator(mode="after")
    def _one_way_to_choose(self) -> Self:
        if self.backend is not None and self.min_isolation is not None:
            raise ValueError("give backend or min_isolation, not both")
        return self


Function = Annotated[Plain, StringConstraints(min_length=1, max_length=1024)]
FUNCTION = Field(
    default=None,
    description="Call this export of the WebAssembly module that `argv` names, with the rest of "
    "`argv` and `args` as its arguments.",
)


class Program(RequestModel):
    """What every program may be given."""

    args: Annotated[tuple[Argument, ...], Field(max_length=4096)] = ()
    stdin: Content | None = Field(
        default=None, description="Fed whole, then closed. Default: empty."
    )
    env: Env = Field(default_factory=dict[str, str])
    secrets: Secrets = Field(
        default_factory=dict[str, str],
        repr=False,
        description="Variables, or files of `/run/secrets`, that are written down nowhere.",
    )
    cwd: GuestPath = WORKSPACE
    files: FilesIn = Field(
        default_factory=dict[str, str | Encoded],
        description="Written before the program starts; paths relative to `cwd`, or absolute.",
    )
    timeout_s: Seconds | None = Field(
        default=None, description="Wall time; the server has a default."
    )
    fuel: Annotated[int, Field(ge=1, lt=1 << 59)] | None = Field(
        default=None, description="Bound on the instructions of a WebAssembly module."
    )
    structured: bool = Field(
        default=False,
        description="Let code give back a JSON value: `result` of the answer. For python, "
        "javascript and typescript.",
    )
    encoding: TextEncoding = Field(
        default="utf-8",
        description="Of stdout and stderr in the answer; `base64` is exact to the byte.",
    )


Code = Annotated[str, StringConstraints(min_length=1)]


class ExecuteRequest(Program, Placement):
    """Code in a language, run once in a fresh sandbox."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"language": "python", "code": "print(1+1)"}]}
    )

    language: Word
    code: Code | None = None
    entry: GuestPath | None = Field(default=None, description="Which of `files` to run.")

    @model_validator(mode="after")
    def _code_or_files(self) -> Self:
        if self.code is None and not self.files:
            raise ValueError("give code, or files and entry")
        if self.code is not None:
            no_nul(self.code)
        return self


class RunRequest(Program, Placement):
    """A command, run once in a fresh sandbox."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"argv": ["uname", "-a"]}]})

    argv: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=4096)] | None = None
    command: Annotated[Argument, StringConstraints(min_length=1)] | None = Field(
        default=None, description="A line for the shell."
    )
    function: Function | None = FUNCTION

    @model_validator(mode="after")
    def _one_command(self) -> Self:
        if self.function is not None and self.argv is None:
            raise ValueError("function needs argv, whose first word is the module")
        if (self.argv is None) == (self.command is None):
            raise ValueError("give argv or command, one of the two")
        if self.argv is not None and not self.argv[0]:
            raise ValueError("argv[0] must not be empty")
        return self


class BatchRequest(RequestModel):
    """Many one-shots. Each is judged on its own."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"requests": [{"language": "python", "code": "print(1)"}, {"argv": ["true"]}]}
            ]
        }
    )

    requests: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=10_000)]
    concurrency: Annotated[int, Field(ge=1, le=1024)] | None = None
