"""Named sets of rules: limits, network, the root's protection, the least isolation.

A profile says what its sandboxes *want*; what a host or its operator does not give is not in
force, and the answer about a sandbox tells what is.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import cast

from atoll.core.errors import InvalidRequest
from atoll.core.model import MIB, Isolation, Limits, NetworkPolicy

DEFAULT_PROFILE = "moderate"
NETWORK_MODES = ("none", "allow", "internet")
NO_NETWORK = NetworkPolicy()
_LIMITS = {each.name: each.type for each in fields(Limits)}
_OTHERS = ("base", "description", "network", "min_isolation", "read_only_root")
_NETWORK = ("mode", "allow", "deny")


@dataclass(frozen=True, slots=True)
class Profile:
    """A named set of rules. Nothing of the host is ever mounted by one.

    With `read_only_root` a sandbox writes to its own directories only (`/workspace`, the home,
    `/tmp`, `/var/tmp`, `/run`, `/dev/shm`), also where its image would allow more.
    """

    name: str
    description: str
    limits: Limits = field(default_factory=Limits)
    network: NetworkPolicy = NO_NETWORK
    min_isolation: Isolation | None = None
    read_only_root: bool = False


_INTERNET = NetworkPolicy("internet")
PROFILES: Mapping[str, Profile] = {
    each.name: each
    for each in (
        Profile(
            "permissive",
            "Room to build things: network, 2 GiB of memory, 2 CPUs, 4 GiB of disk.",
            Limits(memory_bytes=2048 * MIB, cpus=2.0, processes=512, disk_bytes=4096 * MIB),
            _INTERNET,
        ),
        Profile(
            "moderate",
            "The default: network, 512 MiB of memory, 1 CPU, 512 MiB of disk.",
            Limits(),
            _INTERNET,
        ),
        Profile(
            "restrictive",
            "For code that nobody has read: no network, a read-only root, 256 MiB of memory, "
            "half a CPU, 32 processes.",
            Limits(
                memory_bytes=256 * MIB,
                cpus=0.5,
                processes=32,
                disk_bytes=64 * MIB,
                disk_files=4096,
                open_files=256,
            ),
            read_only_root=True,
        ),
    )
}


class Profiles:
    """Those of the server: ours, and the operator's laid over them.

    `modes` are the network modes that the operator allows.
    """

    def __init__(
        self,
        own: Mapping[str, Profile] | None = None,
        *,
        default: str = DEFAULT_PROFILE,
        modes: Collection[str] = ("none",),
    ) -> None:
        self._all = {**PROFILES, **(own or {})}
        self._modes = frozenset(modes)
        self.default = default

    def __iter__(self) -> Iterator[Profile]:
        return iter(self._all.values())

    def get(self, name: str | None) -> Profile:
        """The one of that name, the default for None; `InvalidRequest` naming those there are."""
        wanted = self.default if name is None else name
        found = self._all.get(wanted)
        if found is None:
            names = ", ".join(sorted(self._all))
            raise InvalidRequest(
                f"There is no profile {wanted[:100]!r}; use one of {names}.", field="profile"
            )
        return found

    def network(self, rules: Profile) -> NetworkPolicy:
        """What of a profile's network the operator allows: all of it, or none."""
        return rules.network if rules.network.mode in self._modes else NO_NETWORK


def define(name: str, table: Mapping[str, object], known: Mapping[str, Profile]) -> Profile:
    """A profile out of an operator's table, over the one that `base` names.

    Without `base` that is the one of the same name, else the default. Raises `ValueError`.
    """
    odd = [key for key in table if key not in _LIMITS and key not in _OTHERS]
    if odd:
        raise ValueError(f"{odd[0]!r} is none of {', '.join((*_OTHERS, *_LIMITS))}")
    base = table.get("base", name if name in known else DEFAULT_PROFILE)
    if not isinstance(base, str) or base not in known:
        raise ValueError(f"base is {base!r}; use one of {', '.join(sorted(known))}")
    found = replace(known[base], name=name, limits=_limits(known[base].limits, table))
    if "description" in table:
        found = replace(found, description=str(table["description"]))
    if "network" in table:
        found = replace(found, network=_network(table["network"]))
    if "min_isolation" in table:
        found = replace(found, min_isolation=_isolation(table["min_isolation"]))
    if "read_only_root" in table:
        if not isinstance(table["read_only_root"], bool):
            raise ValueError("read_only_root must be true or false")
        found = replace(found, read_only_root=table["read_only_root"])
    return found


def _limits(base: Limits, table: Mapping[str, object]) -> Limits:
    changes: dict[str, int | float] = {}
    for key in _LIMITS:
        if key not in table:
            continue
        value = table[key]
        kinds = (int, float) if key == "cpus" else (int,)
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < math.inf:
            raise ValueError(f"{key} must be a positive {'number' if key == 'cpus' else 'integer'}")
        changes[key] = float(value) if key == "cpus" else value
    return replace(base, **changes)  # type: ignore[arg-type]  # checked above, one by one


def _network(given: object) -> NetworkPolicy:
    table = {"mode": given} if isinstance(given, str) else given
    if not isinstance(table, Mapping):
        raise ValueError(  # noqa: TRY004 - one kind for all that is wrong
            "network must be a mode, or a table with mode, allow and deny"
        )
    words = cast("Mapping[str, object]", table)
    odd = [key for key in words if key not in _NETWORK]
    mode = words.get("mode", "none")
    if odd or mode not in NETWORK_MODES:
        raise ValueError(f"network.mode must be one of {', '.join(NETWORK_MODES)}")
    allow, deny = (_words(key, words.get(key, ())) for key in ("allow", "deny"))
    return NetworkPolicy(str(mode), allow, deny)


def _words(key: str, given: object) -> tuple[str, ...]:
    if isinstance(given, list | tuple):
        listed = cast("list[object] | tuple[object, ...]", given)
        if all(isinstance(each, str) for each in listed):
            return tuple(str(each) for each in listed)
    raise ValueError(f"network.{key} must be a list of names and addresses")


def _isolation(given: object) -> Isolation:
    names = {each.name.lower(): each for each in Isolation}
    if given not in names:
        raise ValueError(f"min_isolation must be one of {', '.join(names)}")
    return names[str(given)]
