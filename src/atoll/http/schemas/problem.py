"""Errors, as they are described; `http.errors` writes them."""

from pydantic import ConfigDict, Field

from atoll.http.schemas.words import AnswerModel


class ProblemField(AnswerModel):
    """One thing that is wrong in a request."""

    field: str
    detail: str


class ProblemOut(AnswerModel):
    """RFC 9457 problem details. `field` and `errors` are there where the request is at fault."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=False)

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    retryable: bool
    field: str = ""
    errors: list[ProblemField] = Field(default_factory=list[ProblemField])
