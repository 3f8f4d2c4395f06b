"""How one-shots and other programs ended, as they are described; `http.answers` writes them."""

from typing import Any

from pydantic import ConfigDict, Field

from atoll.core.model import ExitReason
from atoll.http.schemas.problem import ProblemOut
from atoll.http.schemas.words import AnswerModel, TextEncoding


class UsageOut(AnswerModel):
    """What the program and its children used. Zero where the backend cannot measure it."""

    wall_s: float
    cpu_s: float
    peak_memory_bytes: int


class ExitOut(AnswerModel):
    """How a program ended. `exit_code` is null unless the program itself chose one."""

    exit_code: int | None
    reason: ExitReason
    signal: int | None
    truncated: bool
    detail: str = Field(description="More about the reason, such as the name of a trap.")
    results: list[int | float | str | None] = Field(
        description="What a called `function` returned; NaN and infinities are strings."
    )
    usage: UsageOut


class TimingsOut(AnswerModel):
    """Where the time went."""

    queue_ms: float
    open_ms: float
    run_ms: float
    total_ms: float


class EndOut(ExitOut):
    """The last event of a stream of a one-shot: its result without the bodies.

    `result` and `error` are there with `structured` only.
    """

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    id: str
    timings: TimingsOut
    backend: str
    result: Any = Field(default=None, description="What a structured program has set.")
    error: Any = Field(default=None, description="What it has failed with; mostly an object.")


class ResultOut(EndOut):
    """The result of a one-shot. A program that failed is a result too."""

    stdout: str
    stderr: str
    encoding: TextEncoding


class BatchItem(AnswerModel):
    """One of `result` and `error` is null."""

    index: int
    result: ResultOut | None
    error: ProblemOut | None


class BatchOut(AnswerModel):
    """In the order of the requests."""

    results: list[BatchItem]
