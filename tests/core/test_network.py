"""Network policies: what entries mean, which is first, and what no spelling gets around."""

from ipaddress import ip_address, ip_network

import pytest

from atoll.core.errors import InvalidRequest
from atoll.core.model import NetworkPolicy
from atoll.core.network import ENTRIES_MAX, Entry, Rules, entry, rules


def of(mode: str, allow: str = "", deny: str = "") -> Rules:
    return rules(NetworkPolicy(mode, tuple(allow.split()), tuple(deny.split())))


@pytest.mark.parametrize(
    ("policy", "address", "port", "passes"),
    [
        (of("none"), "8.8.8.8", 53, False),
        (of("none", "8.8.8.8"), "8.8.8.8", 53, False),
        (of("allow"), "8.8.8.8", 53, False),
        (of("allow", "8.8.8.8"), "8.8.8.8", 53, True),
        (of("allow", "8.8.8.8"), "8.8.8.9", 53, False),
        (of("allow", "8.8.8.8"), "8.8.8.8", None, True),
        (of("allow", "8.8.8.8:53"), "8.8.8.8", 53, True),
        (of("allow", "8.8.8.8:53"), "8.8.8.8", 54, False),
        (of("allow", "8.8.8.8:53"), "8.8.8.8", None, False),
        (of("allow", "8.0.0.0/8"), "8.255.255.255", 1, True),
        (of("allow", "8.0.0.0/8", "8.8.0.0/16"), "8.8.8.8", 1, False),
        (of("allow", "8.8.8.8", "8.8.8.8:53"), "8.8.8.8", 53, False),
        (of("allow", "8.8.8.8", "8.8.8.8:53"), "8.8.8.8", 80, True),
        (of("allow", "2a00:1450::/32"), "2a00:1450::1", 443, True),
        (of("allow", "[2a00:1450::1]:443"), "2a00:1450::1", 443, True),
        (of("allow", "[2a00:1450::1]:443"), "2a00:1450::1", 80, False),
        (of("allow", "0.0.0.0/0"), "2a00:1450::1", 443, False),
        (of("internet"), "8.8.8.8", 53, True),
        (of("internet"), "2a00:1450::1", 443, True),
        (of("internet", "", "8.8.8.8"), "8.8.8.8", 53, False),
        # guarded: only by their very address, or a range of their own
        (of("internet"), "169.254.169.254", 80, False),
        (of("internet"), "10.0.0.1", 80, False),
        (of("internet"), "100.64.0.5", 80, False),
        (of("internet"), "127.0.0.1", 80, False),
        (of("internet"), "192.168.1.1", 80, False),
        (of("internet"), "fd00::1", 80, False),
        (of("internet"), "fe80::1", 80, False),
        (of("internet"), "fec0::2", 80, False),
        (of("internet"), "::ffff:8.8.8.8", 80, False),
        (of("internet"), "64:ff9b::a9fe:a9fe", 80, False),
        (of("internet"), "2002:a9fe:a9fe::1", 80, False),
        (of("internet"), "224.0.0.1", 80, False),
        (of("internet"), "255.255.255.255", 80, False),
        (of("allow", "0.0.0.0/0"), "169.254.169.254", 80, False),
        (of("allow", "0.0.0.0/0"), "8.8.8.8", 80, True),
        (of("allow", "8.0.0.0/5"), "10.0.0.1", 80, False),
        (of("allow", "169.254.169.254"), "169.254.169.254", 80, True),
        (of("allow", "10.1.0.0/16"), "10.1.2.3", 80, True),
        (of("allow", "10.1.0.0/16"), "10.2.2.3", 80, False),
        (of("internet", "10.1.0.0/16"), "10.1.2.3", 80, True),
        (of("internet", "10.1.0.0/16", "10.1.2.0/24"), "10.1.2.3", 80, False),
        (of("allow", "::/0"), "fd00::1", 80, False),
        (of("allow", "fd12::/16"), "fd12::1", 80, True),
    ],
)
def test_what_passes(policy: Rules, address: str, port: int | None, passes: bool) -> None:
    assert policy.passes(ip_address(address), port) is passes


def test_names_are_reached_at_what_they_were_answered_with() -> None:
    policy = of("allow", "example.org", "8.8.4.4")
    address = ip_address("8.8.8.8")
    assert not policy.passes(address, 80)
    assert policy.passes(address, 80, [(address, None)])
    assert policy.passes(address, 443, [(address, 443)])
    assert not policy.passes(address, 80, [(address, 443)])
    denied = ip_address("8.8.4.4")
    assert not policy.passes(denied, 80, [(denied, None)])
    rebound = ip_address("10.0.0.1")
    assert not policy.passes(rebound, 80, [(rebound, None)])


@pytest.mark.parametrize(
    ("policy", "name", "resolves"),
    [
        (of("none"), "example.org", False),
        (of("allow"), "example.org", False),
        (of("internet"), "example.org", True),
        (of("internet", "", "example.org"), "example.org", False),
        (of("internet", "", "*.example.org"), "a.example.org", False),
        (of("allow", "example.org"), "example.org", True),
        (of("allow", "example.org"), "EXAMPLE.org.", True),
        (of("allow", "Example.Org"), "example.org", True),
        (of("allow", "example.org:443"), "example.org", True),
        (of("allow", "example.org"), "a.example.org", False),
        (of("allow", "example.org"), "anexample.org", False),
        (of("allow", "example.org"), "example.org.evil.net", False),
        (of("allow", "*.example.org"), "a.b.example.org", True),
        (of("allow", "*.example.org"), "example.org", False),
        (of("allow", "*.example.org"), "anexample.org", False),
        (of("allow", "*.example.org", "b.example.org"), "b.example.org", False),
        (of("allow", "8.8.8.8"), "8.8.8.8", False),
    ],
)
def test_what_resolves(policy: Rules, name: str, resolves: bool) -> None:
    assert policy.resolves(name) is resolves


def test_the_ports_of_a_name() -> None:
    policy = of("allow", "a.org:443 a.org:80 *.b.org b.org:22")
    assert policy.ports("a.org") == {443, 80}
    assert policy.ports("x.b.org") == {None}
    assert policy.ports("b.org") == {22}
    assert policy.ports("c.org") == frozenset()


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "*", "*.", ".", "..", "a..b", "-a.org", "a-.org", "a b", "a.org:", "a.org:0",
        "a.org:65536", "a.org:-1", "a.org:http", "a.org:80:80", "http://a.org", "a.org/path",
        "a.*.org", "*a.org", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "0x7f.1",
        "0x7f", "a.0", "1.2.3.4/33", "1.2.3.4/24", "10.0.0.0/8/8", "1.2.3.4:", "[::1", "::1]",
        "[::1]80", "[::1]:0", "::1%lo",
        "fe80::1%eth0", "::ffff:1.2.3.4", "[::ffff:1.2.3.4]:80", "2130706433", "a" * 64 + ".org",
        "a." * 127 + "org", "exämple.org", "a\0b", "a.org\n",
        "\uff11.2.3.4", "1.2.3.4:\uff180",
    ],
)  # fmt: skip
def test_what_is_no_entry(text: str) -> None:
    with pytest.raises(InvalidRequest) as wrong:
        entry(text, "network.allow.3")
    assert wrong.value.field == "network.allow.3"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a.org", Entry(name="a.org")),
        ("a.org.", Entry(name="a.org")),
        ("*.a.org:8080", Entry(name="a.org", below=True, port=8080)),
        ("xn--exmple-cua.org", Entry(name="xn--exmple-cua.org")),
        ("localhost", Entry(name="localhost")),
        ("host1", Entry(name="host1")),
        ("_dmarc.a.org", Entry(name="_dmarc.a.org")),
    ],
)
def test_names(text: str, found: Entry) -> None:
    assert entry(text, "f") == found


def test_modes_and_numbers_are_bounded() -> None:
    with pytest.raises(InvalidRequest) as wrong:
        rules(NetworkPolicy("all"))
    assert wrong.value.field == "network.mode"
    with pytest.raises(InvalidRequest) as many:
        rules(NetworkPolicy("allow", ("8.8.8.8",) * (ENTRIES_MAX + 1)))
    assert many.value.field == "network.allow"


def test_what_the_operator_guards() -> None:
    own = rules(NetworkPolicy("internet"), guarded=[ip_network("9.9.9.0/24")])
    assert not own.passes(ip_address("9.9.9.9"), 80)
    assert own.passes(ip_address("9.9.8.9"), 80)
