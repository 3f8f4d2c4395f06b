from typing import Any

import pytest

from atoll.core.errors import InvalidRequest
from atoll.core.model import MIB, Isolation, NetworkPolicy
from atoll.core.profiles import NO_NETWORK, PROFILES, Profiles, define


def test_the_three_mean_what_their_names_say() -> None:
    permissive, moderate, restrictive = PROFILES.values()
    assert (moderate.limits.memory_bytes, moderate.limits.cpus) == (512 * MIB, 1.0)
    assert (restrictive.limits.memory_bytes, restrictive.limits.cpus) == (256 * MIB, 0.5)
    assert permissive.limits.memory_bytes > moderate.limits.memory_bytes
    assert [each.network.mode for each in PROFILES.values()] == ["internet", "internet", "none"]
    assert [each.read_only_root for each in PROFILES.values()] == [False, False, True]


def test_a_network_is_in_force_only_where_the_operator_allows_it() -> None:
    moderate = PROFILES["moderate"]
    assert Profiles().network(moderate) == NO_NETWORK
    assert Profiles(modes=["none", "internet"]).network(moderate) == moderate.network


def test_an_unknown_one_is_refused_with_the_names_of_those_there_are() -> None:
    own = {"big": define("big", {"base": "permissive", "memory_bytes": 8192 * MIB}, PROFILES)}
    with pytest.raises(InvalidRequest, match=r"big, moderate, permissive, restrictive") as refused:
        Profiles(own).get("odd")
    assert refused.value.field == "profile"
    assert Profiles(own).get("big").limits.memory_bytes == 8192 * MIB
    assert Profiles(own, default="big").get(None).name == "big"


def test_what_an_operator_defines() -> None:
    table = {
        "base": "restrictive",
        "description": "Ours.",
        "cpus": 2,
        "network": {"mode": "allow", "allow": ["pypi.org"]},
        "min_isolation": "interposed",
        "read_only_root": False,
    }
    found = define("ours", table, PROFILES)
    assert (found.name, found.description, found.limits.cpus) == ("ours", "Ours.", 2.0)
    assert found.limits.processes == PROFILES["restrictive"].limits.processes
    assert found.network == NetworkPolicy("allow", ("pypi.org",))
    assert (found.min_isolation, found.read_only_root) == (Isolation.INTERPOSED, False)
    assert define("restrictive", {"cpus": 1}, PROFILES).limits.memory_bytes == 256 * MIB


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"memory": 1}, "'memory' is none of"),
        ({"base": "odd"}, "base is 'odd'"),
        ({"memory_bytes": "1"}, "memory_bytes must be a positive integer"),
        ({"memory_bytes": True}, "memory_bytes must be a positive integer"),
        ({"cpus": float("nan")}, "cpus must be a positive number"),
        ({"processes": 0}, "processes must be a positive integer"),
        ({"network": "open"}, "network.mode must be one of"),
        ({"network": 7}, "network must be a mode"),
        ({"network": {"mode": "allow", "allow": "pypi.org"}}, "network.allow must be a list"),
        ({"network": {"open": True}}, "network.mode must be one of"),
        ({"min_isolation": "strong"}, "min_isolation must be one of"),
        ({"read_only_root": "yes"}, "read_only_root must be true or false"),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        define("ours", table, PROFILES)
