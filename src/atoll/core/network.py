"""What a network policy's entries mean, and what they let through. Decisions without I/O.

An entry is an address, a range, a name, or `*.` and a name, each with `:port` or without. From the
first that fits:

1. what `deny` lists is refused;
2. what `allow` lists by its very address, or by a range within a guarded one, is let through;
3. guarded ranges are refused: this host, its neighbours, other sandboxes, cloud metadata;
4. what else `allow` lists is let through, names by the addresses that they were answered with;
5. the rest is let through with mode `internet`, and refused with mode `allow`.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from atoll.core.errors import InvalidRequest
from atoll.core.model import NetworkPolicy

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MODES = ("none", "allow", "internet")
ENTRIES_MAX = 256
_PORT_MAX = 65535
_NAME_MAX = 253
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
# IANA special-purpose registries: what is not the public internet. "This host", private use, shared
# (other sandboxes are there), loopback, link-local with the clouds' metadata, multicast, reserved;
# IPv6 the same, and every form in which an IPv4 address can be written as an IPv6 one.
GUARDED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(each)
    for each in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
        "::/8", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32",
        "2002::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: a range of addresses, or a name (`below`: of all names beneath it)."""

    network: Network | None = None
    name: str = ""
    below: bool = False
    port: int | None = None

    @property
    def explicit(self) -> bool:
        """Whether it means its addresses even where they are guarded."""
        own = self.network
        if own is None:
            return False
        return own.num_addresses == 1 or any(_within(own, guarded) for guarded in GUARDED)

    def names(self, name: str) -> bool:
        """Whether it is about that name (in lower case, without a final dot)."""
        if self.below:
            return name.endswith(f".{self.name}")
        return bool(self.name) and name == self.name

    def covers(self, address: Address, port: int | None) -> bool:
        """Whether it is about that address and port (None: a protocol without ports)."""
        fits = self.port is None or self.port == port
        return fits and self.network is not None and address in self.network


@dataclass(frozen=True, slots=True)
class Rules:
    """A policy, understood."""

    mode: str = "none"
    deny: tuple[Entry, ...] = ()
    allow: tuple[Entry, ...] = ()
    guarded: tuple[Network, ...] = GUARDED

    @property
    def named(self) -> tuple[Entry, ...]:
        """What `allow` lists by name."""
        return tuple(entry for entry in self.allow if entry.name)

    def passes(
        self,
        address: Address,
        port: int | None,
        pinned: Iterable[tuple[Address, int | None]] = (),
    ) -> bool:
        """Whether a packet to that address may leave; `pinned` is what names were answered with."""
        if self.mode == "none" or any(entry.covers(address, port) for entry in self.deny):
            return False
        if any(entry.covers(address, port) for entry in self.allow if entry.explicit):
            return True
        if any(address in network for network in self.guarded):
            return False
        if any(entry.covers(address, port) for entry in self.allow):
            return True
        if any(found == address and wanted in {None, port} for found, wanted in pinned):
            return True
        return self.mode == "internet"

    def resolves(self, name: str) -> bool:
        """Whether the guest may ask for the addresses of a name."""
        name = name.rstrip(".").lower()
        if self.mode == "none" or any(entry.names(name) for entry in self.deny):
            return False
        return self.mode == "internet" or any(entry.names(name) for entry in self.allow)

    def ports(self, name: str) -> frozenset[int | None]:
        """At which ports the addresses of a name may be reached (None: at all)."""
        name = name.rstrip(".").lower()
        return frozenset(entry.port for entry in self.allow if entry.names(name))


def rules(policy: NetworkPolicy, guarded: Sequence[Network] = ()) -> Rules:
    """Understand a policy; `guarded` is what the operator guards besides. `InvalidRequest`."""
    if policy.mode not in MODES:
        raise InvalidRequest(
            f"There is no network mode {policy.mode!r}; there is: {', '.join(MODES)}.",
            field="network.mode",
        )
    return Rules(
        policy.mode,
        _entries(policy.deny, "network.deny"),
        _entries(policy.allow, "network.allow"),
        (*GUARDED, *guarded),
    )


def names_in(policy: NetworkPolicy) -> bool:
    """Whether a policy lets something through by its name."""
    return policy.mode != "none" and bool(rules(policy).named)


def entry(text: str, field: str) -> Entry:
    """Understand one entry. `InvalidRequest` says what is wrong with it."""
    try:
        return _parsed(text)
    except ValueError as error:
        raise InvalidRequest(f"{text[:100]!r} {error}", field=field) from None


def _entries(texts: Sequence[str], field: str) -> tuple[Entry, ...]:
    if len(texts) > ENTRIES_MAX:
        raise InvalidRequest(f"At most {ENTRIES_MAX} entries are taken.", field=field)
    return tuple(entry(text, f"{field}.{index}") for index, text in enumerate(texts))


def _parsed(text: str) -> Entry:
    where, port = _split(text)
    if where.startswith("*."):
        return Entry(name=_name(where[2:]), below=True, port=port)
    # A last label of digits makes it an address, however odd (RFC 6943 3.1.1, WHATWG URL).
    if ":" in where or "/" in where or _NUMBER.fullmatch(where.rpartition(".")[2]):
        return Entry(network=_network(where), port=port)
    return Entry(name=_name(where), port=port)


def _split(text: str) -> tuple[str, int | None]:
    """`[v6]:port`, `other:port`, or all of it without a port."""
    where, colon, port = text.rpartition(":")
    if text.startswith("["):
        if text.endswith("]"):
            return text[1:-1], None
        if not where.endswith("]"):
            raise ValueError("must be [ADDRESS]:PORT.")
        where = where[1:-1]
    elif not colon or text.count(":") > 1:
        return text, None
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= _PORT_MAX):
        raise ValueError(f"has no port: a port is a number from 1 to {_PORT_MAX}.")
    return where, int(port)


def _network(text: str) -> Network:
    try:
        found = ipaddress.ip_network(text)
    except ValueError:
        try:
            right = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError("is neither an address, a range nor a name.") from None
        raise ValueError(f"has bits beyond its length; the range is {right}.") from None
    if isinstance(found, ipaddress.IPv6Network):
        if found.network_address.scope_id:
            raise ValueError("has a zone, which means nothing here.")
        if found.network_address.ipv4_mapped is not None:
            raise ValueError("is an IPv4 address in IPv6 form; write it as IPv4.")
    return found


def _name(text: str) -> str:
    name = text.rstrip(".") if text.count("..") == 0 else text
    name = name.lower()
    if not name or len(name) > _NAME_MAX or not all(map(_LABEL.fullmatch, name.split("."))):
        raise ValueError("is no host name (names of other scripts in their xn-- form).")
    return name


def _within(own: Network, other: Network) -> bool:
    if isinstance(own, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and own.subnet_of(other)
    return isinstance(other, ipaddress.IPv6Network) and own.subnet_of(other)
