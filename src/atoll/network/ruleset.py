"""The same decision twice, as rules for the kernel: within a sandbox, and on the host's side.

`core.network.Rules.passes` is what both must agree with. Refusals say so (ICMP), so that programs
fail at once instead of waiting; what comes in is dropped.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network, ip_address

from atoll.core.network import Address, Entry, Network, Rules
from atoll.jail.rootfs import PROXY_PORT, RESOLVER
from atoll.network.places import POOL4, POOL6, Place, prefix

_NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
_REFUSE = "counter reject with icmpx admin-prohibited"
_PORTS = "meta l4proto { tcp, udp }"
_MAPS = ("onward", "local", "names")
# Connections of one sandbox that the host remembers: the table for them is all sandboxes' own.
FLOWS_MAX = 4096
_ASKS = f"ct status dnat ct original ip daddr {RESOLVER}"
_PROXIES = f"meta l4proto tcp {_ASKS} ct original proto-dst {PROXY_PORT}"
PIN_S = 3600
PINS_MAX = 4096
_BOUND = f"size {PINS_MAX}; flags timeout; timeout {PIN_S}s;"
_PINS = {
    "pins4": f"type ipv4_addr; {_BOUND}",
    "pins6": f"type ipv6_addr; {_BOUND}",
    "ports4": f"type ipv4_addr . inet_service; {_BOUND}",
    "ports6": f"type ipv6_addr . inet_service; {_BOUND}",
}


def table(owner: str) -> str:
    """The name of a server's table."""
    return f"atoll_{owner[:7]}"


def guest(rules: Rules) -> str:
    """All rules within the sandbox; replaces what was there."""
    decision = "\n    ".join(_decision(rules, *_PINS))
    sets = "\n  ".join(f"set {name} {{ {of} }}" for name, of in _PINS.items())
    return f"""
table inet atoll {{ }}
delete table inet atoll
table inet atoll {{
  {sets}
  chain input {{
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    {_NEIGHBOURS}
    ct state established,related accept
  }}
  chain forward {{
    type filter hook forward priority 0; policy drop;
  }}
  chain output {{
    type filter hook output priority 0; policy drop;
    oifname "lo" accept
    {_NEIGHBOURS}
    ip6 daddr ff02::/16 meta l4proto ipv6-icmp drop
    ip daddr {RESOLVER} {_PORTS} th dport 53 accept
    {_proxied(rules, f"ip daddr {RESOLVER} tcp dport {PROXY_PORT}")}
    {decision}
  }}
}}
"""


def host(owner: str) -> str:
    """What a server needs once. Replaces what a killed one has left, with all its sandboxes'."""
    name, links = table(owner), f'"{prefix(owner)}*"'
    return f"""
table inet {name} {{ }}
delete table inet {name}
table inet {name} {{
  map onward {{ type ifname : verdict; }}
  map local {{ type ifname : verdict; }}
  map names {{ type ifname : verdict; }}
  chain forward {{
    type filter hook forward priority -5; policy accept;
    oifname {links} ct state != {{ established, related }} counter drop
    iifname {links} goto out
  }}
  chain out {{
    iifname vmap @onward
    counter drop
  }}
  chain input {{
    type filter hook input priority -5; policy accept;
    iifname {links} goto here
  }}
  chain here {{
    {_NEIGHBOURS}
    iifname vmap @local
    counter drop
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    iifname vmap @names
  }}
  chain postrouting {{
    type nat hook postrouting priority 100; policy accept;
    ip saddr {POOL4} oifname != {links} masquerade
    ip6 saddr {POOL6} oifname != {links} masquerade
  }}
}}
"""


def unhost(owner: str) -> str:
    """The end of it."""
    return f"table inet {table(owner)} {{ }}\ndelete table inet {table(owner)}\n"


def joined(place: Place, rules: Rules, alias: str = "") -> str:
    """A sandbox's rules on the host's side."""
    name, own = table(place.owner), place.number
    add = f"add chain inet {name}"
    lines = [f"{add} on{own}", f"{add} in{own}", f"{add} ns{own}"]
    lines += [f"add set inet {name} {each}_{own} {{ {of} }}" for each, of in _PINS.items()]
    # What an earlier sandbox may have left at this place, if it could not be removed.
    lines += [f"flush chain inet {name} {kind}{own}" for kind in ("on", "in", "ns")]
    lines += [f"flush set inet {name} {each}_{own}" for each in _PINS]
    lines += _filled(place, rules, alias)
    link = f'"{place.link}"'
    lines += [
        f"add element inet {name} onward {{ {link} : jump on{own} }}",
        f"add element inet {name} local {{ {link} : jump in{own} }}",
        f"add element inet {name} names {{ {link} : jump ns{own} }}",
    ]
    return "\n".join(lines) + "\n"


def asked(place: Place, ports: tuple[int, int, int], alias: str = "") -> str:
    """Questions of a sandbox go to these ports, UDP and TCP, of its own; the third is the proxy's.

    `alias` is the host.
    """
    rule = f"add rule inet {table(place.owner)} ns{place.number} ip daddr"
    lines = [
        f"{rule} {RESOLVER} {protocol} dport 53 dnat ip to {place.gateway4}:{port}"
        for protocol, port in zip(("udp", "tcp"), ports[:2], strict=True)
    ]
    lines.append(f"{rule} {RESOLVER} tcp dport {PROXY_PORT} dnat ip to {place.gateway4}:{ports[2]}")
    return "\n".join([*lines, f"{rule} {alias} dnat ip to {place.gateway4}"] if alias else lines)


def pinned(place: Place | None, addresses: Sequence[Address], ports: frozenset[int | None]) -> str:
    """Let these through, on the host's side of a place or within the sandbox; for an hour anew."""
    name, suffix = "atoll", ""
    if place is not None:
        name, suffix = table(place.owner), f"_{place.number}"
    lines: list[str] = []
    for address in addresses:
        for port in ports:
            kind = f"{'pins' if port is None else 'ports'}{address.version}{suffix}"
            element = f"{address}" if port is None else f"{address} . {port}"
            at = f"element inet {name} {kind} {{ {element} }}"
            lines += [f"add {at}", f"delete {at}", f"add {at}"]
    return "\n".join(lines) + "\n"


def unpinned(place: Place | None) -> str:
    """Let none of these through any more."""
    name, suffix = "atoll", ""
    if place is not None:
        name, suffix = table(place.owner), f"_{place.number}"
    return "\n".join(f"flush set inet {name} {each}{suffix}" for each in _PINS) + "\n"


def changed(place: Place, rules: Rules, alias: str = "") -> str:
    """Other rules for it, in one step."""
    name, own = table(place.owner), place.number
    lines = [f"flush chain inet {name} on{own}", f"flush chain inet {name} in{own}"]
    lines += [
        f"flush set inet {name} {kind}_{own}" for kind in ("pins4", "pins6", "ports4", "ports6")
    ]
    return "\n".join([*lines, *_filled(place, rules, alias)]) + "\n"


def left(place: Place) -> str:
    """The end of a sandbox's rules."""
    name, own, link = table(place.owner), place.number, f'"{place.link}"'
    lines = [
        f"delete element inet {name} {each} {{ {link} }}" for each in ("onward", "local", "names")
    ]
    lines += [f"delete chain inet {name} {kind}{own}" for kind in ("on", "in", "ns")]
    lines += [f"delete set inet {name} {each}_{own}" for each in _PINS]
    return "\n".join(lines) + "\n"


def _filled(place: Place, rules: Rules, alias: str) -> list[str]:
    name, own = table(place.owner), place.number
    sets = (f"pins4_{own}", f"pins6_{own}", f"ports4_{own}", f"ports6_{own}")
    spoofed = [
        f"ip saddr != {place.guest4} counter drop",
        f"ip6 saddr != {place.guest6} counter drop",
    ]
    many = f"ct state new ct count over {FLOWS_MAX} {_REFUSE}"
    onward = [*spoofed, many, *_decision(rules, *sets)]
    local = [
        *spoofed,
        _proxied(rules, _PROXIES),
        f"{_ASKS} limit rate over 200/second burst 400 packets drop",
        f"{_ASKS} accept",
        *_aliased(rules.deny, alias, _REFUSE),
        *_aliased([each for each in rules.allow if each.explicit], alias, "accept"),
        *_listed(rules.deny, _REFUSE),
        *_listed([each for each in rules.allow if each.explicit], "accept"),
        _REFUSE,
    ]
    if rules.mode == "none":
        local = [_REFUSE]
    return [
        *(f"add rule inet {name} on{own} {rule}" for rule in onward),
        *(f"add rule inet {name} in{own} {rule}" for rule in local),
    ]


def _decision(rules: Rules, pins4: str, pins6: str, ports4: str, ports6: str) -> list[str]:
    """`Rules.passes`, line by line."""
    if rules.mode == "none":
        return [_REFUSE]
    return [
        *_listed(rules.deny, _REFUSE),
        *_listed([each for each in rules.allow if each.explicit], "accept"),
        *_ranges(rules.guarded, _REFUSE),
        *_listed([each for each in rules.allow if not each.explicit], "accept"),
        f"ip daddr @{pins4} accept",
        f"ip6 daddr @{pins6} accept",
        f"{_PORTS} ip daddr . th dport @{ports4} accept",
        f"{_PORTS} ip6 daddr . th dport @{ports6} accept",
        "accept" if rules.mode == "internet" else _REFUSE,
    ]


def _listed(entries: Sequence[Entry], verdict: str) -> list[str]:
    """One rule for each entry that is about addresses; their number is bounded."""
    lines: list[str] = []
    for entry in entries:
        if entry.network is not None:
            port = (
                "" if entry.port is None else f" meta l4proto {{ tcp, udp }} th dport {entry.port}"
            )
            lines.append(f"{_to(entry.network)}{port} {verdict}")
    return lines


def _proxied(rules: Rules, what: str) -> str:
    """The proxy is there for policies that list names."""
    return f"{what} accept" if rules.named else f"{what} {_REFUSE}"


def _aliased(entries: Sequence[Entry], alias: str, verdict: str) -> list[str]:
    """The same for what came to the host by its other name: by the name, that is."""
    if not alias:
        return []
    whom = f"ct status dnat ct original ip daddr {alias}"
    return [
        line.replace(_to(each.network), whom)
        for each in entries
        if each.network is not None and ip_address(alias) in each.network
        for line in _listed([each], verdict)
    ]


def _ranges(networks: Sequence[Network], verdict: str) -> list[str]:
    return [f"{_to(network)} {verdict}" for network in networks]


def _to(network: Network) -> str:
    return f"{'ip' if isinstance(network, IPv4Network) else 'ip6'} daddr {network}"
