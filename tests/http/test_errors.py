from collections.abc import Iterator

import pytest

from atoll.core import errors as core
from atoll.http.errors import STATUS, TITLES, Refused, problem_of, refusal, status_of


def _tree(kind: type[core.AtollError]) -> Iterator[type[core.AtollError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


CLASSES = [kind for kind in _tree(core.AtollError) if kind.__module__ == core.__name__]


def test_table_is_total() -> None:
    assert set(STATUS) == set(CLASSES)
    assert len(CLASSES) == 15


@pytest.mark.parametrize("kind", CLASSES)
def test_every_code_has_a_title_and_a_fitting_status(kind: type[core.AtollError]) -> None:
    assert kind.code in TITLES
    ours = kind in {core.AtollError, core.BackendFault, core.NotListening}
    assert (status_of(kind) >= 500) is ours


def test_subclasses_inherit() -> None:
    class Odd(core.Conflict):
        pass

    assert status_of(Odd) == 409


def test_fields_and_headers() -> None:
    problem = problem_of(core.InvalidRequest("No.", field="a.b"))
    assert problem.body("req_1")["field"] == "a.b"
    assert problem.body("req_1")["instance"] == "urn:atoll:request:req_1"
    assert problem_of(core.Busy("Full.", retry_after_s=0.2)).headers["retry-after"] == "1"
    assert problem_of(core.Busy("Full.", retry_after_s=2.1)).headers["retry-after"] == "3"
    assert "www-authenticate" in problem_of(core.Unauthenticated("Who?")).headers
    assert problem_of(core.BackendFault("It died.")).retryable


def test_unnamed_failures_keep_their_reason_to_themselves() -> None:
    assert "secret" not in problem_of(core.AtollError("secret")).detail


def test_surrogates_are_made_printable() -> None:
    assert problem_of(core.NotFound("file", "\udcff")).response("r").body


@pytest.mark.parametrize("status", [400, 404, 405, 408, 413, 415, 416, 431])
def test_refusals(status: int) -> None:
    problem = problem_of(Refused(status, "No.", close=True))
    assert problem.status == status
    assert problem.code in TITLES
    assert problem.headers["connection"] == "close"
    assert refusal(status, "No.").code == problem.code
