"""Decisions without I/O: profiles, and which backend serves a request."""

from collections.abc import Sequence
from dataclasses import dataclass

from atoll.core.errors import InvalidRequest, Unavailable, Unsupported
from atoll.core.model import MIB, BackendReport, Isolation, Limits, NetworkPolicy


@dataclass(frozen=True, slots=True)
class Profile:
    """A named set of limits and rules."""

    name: str
    limits: Limits
    network: NetworkPolicy
    description: str


PROFILES = {
    "permissive": Profile(
        "permissive",
        Limits(memory_bytes=2048 * MIB, cpus=2.0, processes=512, disk_bytes=4096 * MIB),
        NetworkPolicy(),
        "Room to build things: 2 GiB of memory, 2 CPUs, 4 GiB of disk.",
    ),
    "moderate": Profile(
        "moderate",
        Limits(),
        NetworkPolicy(),
        "The default: 512 MiB of memory, 1 CPU, 512 MiB of disk.",
    ),
    "restrictive": Profile(
        "restrictive",
        Limits(
            memory_bytes=128 * MIB,
            cpus=0.5,
            processes=32,
            disk_bytes=64 * MIB,
            disk_files=4096,
            open_files=256,
        ),
        NetworkPolicy(),
        "For code that nobody has read: 128 MiB of memory, half a CPU, 32 processes.",
    ),
}
DEFAULT_PROFILE = "moderate"


def profile(name: str | None) -> Profile:
    """The profile of that name, the default for None; `InvalidRequest` when there is none."""
    wanted = DEFAULT_PROFILE if name is None else name
    found = PROFILES.get(wanted)
    if found is None:
        names = ", ".join(sorted(PROFILES))
        raise InvalidRequest(
            f"There is no profile {wanted!r}; use one of {names}.", field="profile"
        )
    return found


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
