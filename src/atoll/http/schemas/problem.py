"""Errors, as they are described; `http.errors` writes them."""

from atoll.http.schemas.words import AnswerModel


class ProblemField(AnswerModel):
    """One thing that is wrong in a request."""

    field: str
    detail: str


class ProblemOut(AnswerModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    retryable: bool
    field: str | None = None
    errors: list[ProblemField] | None = None
