"""Decisions without I/O: which backend serves a request."""

from collections.abc import Sequence

from atoll.core.errors import InvalidRequest, Unavailable, Unsupported
from atoll.core.model import BackendReport, Isolation


def choose(
    reports: Sequence[BackendReport],
    *,
    backend: str | None = None,
    min_isolation: Isolation | None = None,
    needs: frozenset[str] = frozenset(),
) -> BackendReport:
    """The first usable backend (in the operator's order) that is strong enough and can do `needs`.

    Raises `InvalidRequest` for a name nobody knows, `Unavailable` for one that does not work here,
    `Unsupported` when none is strong or able enough. Never weakens.
    """
    candidates = list(reports)
    if backend is not None:
        candidates = [r for r in reports if r.name == backend]
        if not candidates:
            names = ", ".join(r.name for r in reports) or "none"
            raise InvalidRequest(
                f"There is no backend {backend!r}; this server has: {names}.", field="backend"
            )
    usable = [r for r in candidates if r.usable]
    if not usable:
        raise Unavailable(" ".join(f"{r.name}: {r.why}" for r in candidates) or "No backend.")
    strong = [r for r in usable if min_isolation is None or r.isolation >= min_isolation]
    if not strong:
        best = max(r.isolation for r in usable).name.lower()
        wanted = min_isolation.name.lower() if min_isolation is not None else ""
        raise Unsupported(f"min_isolation {wanted} was asked for, the strongest here is {best}.")
    able = [r for r in strong if needs <= r.capabilities]
    if not able:
        lacking = ", ".join(sorted(needs - strong[0].capabilities))
        raise Unsupported(f"Backend {strong[0].name} cannot do: {lacking}.")
    return able[0]
