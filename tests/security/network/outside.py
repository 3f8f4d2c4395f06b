"""A network outside: one namespace that this module made, with hosts that answer everything.

They are reached from this machine through one pair of links. Their addresses are of the internet's
kind, of private networks, and the clouds' metadata; nothing goes any further.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

OPEN4, OTHER4 = "93.184.215.14", "93.184.215.15"
OPEN6, OTHER6 = "2606:2800:21f::14", "2606:2800:21f::15"
PRIVATE4, PRIVATE6 = "10.99.7.7", "fd99::7"
METADATA = "169.254.169.254"
PORT, SECOND = 8080, 8081
NAMES_PORT = 5300
# What the name server outside says, to whoever asks for what.
ZONE = {
    "good.example.net": OPEN4,
    "www.good.example.net": OPEN4,
    "other.example.net": OTHER4,
    "rebound.example.net": METADATA,
    "inner.example.net": PRIVATE4,
}
_LINK, _PEER = "atollout0", "atollout1"
_HOSTS4 = (OPEN4, OTHER4, PRIVATE4, METADATA)
_HOSTS6 = (OPEN6, OTHER6, PRIVATE6)
_FORWARD6 = Path("/proc/sys/net/ipv6/conf/all/forwarding")
_SERVER = """
import selectors, socket, sys
chosen = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.setsockopt(socket.IPPROTO_IPV6, 49, 1)  # IPV6_RECVPKTINFO: answer from where it was asked
    udp.setsockopt(socket.IPPROTO_IP, 8, 1)
    udp.bind(("::", port))
    for sock in (tcp, udp):
        chosen.register(sock, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in chosen.select():
        sock = key.fileobj
        if sock.type == socket.SOCK_STREAM:
            peer, source = sock.accept()
            with peer:
                peer.sendall(source[0].removeprefix("::ffff:").encode())
        else:
            data, extra, _, source = sock.recvmsg(2048, 512)
            kept = [each for each in extra if each[1] in (50, 8)]
            sock.sendmsg([source[0].removeprefix("::ffff:").encode()], kept[:1], 0, source)
"""


_NAME_SERVER = """
import json, socket, sys
import dns.message, dns.rrset
zone = json.loads(sys.argv[2])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("10.99.0.2", int(sys.argv[1])))
print("ready", flush=True)
while True:
    wire, peer = sock.recvfrom(4096)
    asked = dns.message.from_wire(wire)
    one = asked.question[0]
    said = dns.message.make_response(asked)
    address = zone.get(one.name.to_text(omit_final_dot=True))
    if address is None:
        said.set_rcode(3)
    elif one.rdtype == 1:
        said.answer.append(dns.rrset.from_text(one.name, 60, "IN", "A", address))
    sock.sendto(said.to_wire(), peer)
"""


@contextlib.contextmanager
def hosts() -> Generator[None]:
    """The hosts outside, for the length of the block."""
    _ip(f"link delete {_LINK}", check=False)  # of a run that was killed
    before = _FORWARD6.read_text()
    _FORWARD6.write_text("1")
    argv = ["unshare", "--net", sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            holder.stdout.readline()
            _wire(holder.pid)
            answering = _serving(holder.pid, _NAME_SERVER, str(NAMES_PORT), json.dumps(ZONE))
            with _serving(holder.pid, _SERVER, str(PORT), str(SECOND)), answering:
                yield
        finally:
            holder.kill()
            _ip(f"link delete {_LINK}", check=False)
            _FORWARD6.write_text(before)


def _wire(pid: int) -> None:
    near = f"nsenter --net=/proc/{pid}/ns/net"
    _ip(f"link add {_LINK} type veth peer name {_PEER} netns {pid}")
    _ip(f"address add 10.99.0.1/24 dev {_LINK}")
    _ip(f"address add fd99:1::1/64 dev {_LINK} nodad")
    _ip(f"link set {_LINK} up")
    _run(f"{near} ip link set lo up")
    _run(f"{near} ip link set {_PEER} up")
    _run(f"{near} ip address add 10.99.0.2/24 dev {_PEER}")
    _run(f"{near} ip address add fd99:1::2/64 dev {_PEER} nodad")
    _run(f"{near} ip route add default via 10.99.0.1")
    _run(f"{near} ip route add default via fd99:1::1")
    for host in _HOSTS4:
        _run(f"{near} ip address add {host}/32 dev lo")
        _ip(f"route add {host}/32 via 10.99.0.2")
    for host in _HOSTS6:
        _run(f"{near} ip address add {host}/128 dev lo nodad")
        _ip(f"route add {host}/128 via fd99:1::2")


@contextlib.contextmanager
def _serving(pid: int, *program: str) -> Generator[None]:
    argv = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", *program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            yield
        finally:
            server.kill()


def _ip(line: str, *, check: bool = True) -> None:
    _run(f"ip {line}", check=check)


def _run(line: str, *, check: bool = True) -> None:
    subprocess.run(line.split(), check=check, capture_output=True, timeout=20)
