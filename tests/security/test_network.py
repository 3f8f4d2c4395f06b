"""The network, the host's sockets, and sockets of unusual families."""

import socket
import threading
from collections.abc import Iterator

import pytest

from atoll.backends.namespace import NamespaceBackend
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import first, fresh, program
from tests.security.probe import inside, outside

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns", "netns")]

ABSTRACT = "\0atoll-security-probe"


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        peer.sendall(b"hello")
        peer.close()


@pytest.fixture
def listeners() -> Iterator[tuple[int, str]]:
    """A TCP port on the host's loopback and an abstract Unix socket, both saying hello."""
    with socket.socket() as tcp, socket.socket(socket.AF_UNIX) as local:
        tcp.bind(("127.0.0.1", 0))
        local.bind(f"{ABSTRACT}-{tcp.getsockname()[1]}")
        for one in (tcp, local):
            one.listen()
            threading.Thread(target=_serve, args=(one,), daemon=True).start()
        yield tcp.getsockname()[1], f"{ABSTRACT}-{tcp.getsockname()[1]}"
        for one in (tcp, local):
            one.shutdown(socket.SHUT_RDWR)


REACH = """
def reach(family, address):
    with socket.socket(family) as sock:
        sock.settimeout(2)
        sock.connect(address)
        return sock.recv(5).decode()
tell([attempt(reach, socket.AF_INET, ("127.0.0.1", %d)), attempt(reach, socket.AF_UNIX, %r)])
"""


async def test_the_hosts_loopback_and_abstract_sockets_are_not_reached(
    box: Sandbox, listeners: tuple[int, str]
) -> None:
    assert await inside(box, REACH % listeners) == ["ECONNREFUSED", "ECONNREFUSED"]
    assert await outside(REACH % listeners) == ["hello", "hello"]


async def test_a_sandbox_has_a_loopback_of_its_own(box: Sandbox) -> None:
    probe = """
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
server.accept()[0].sendall(b"hello")
names = [name for _, name in socket.if_nameindex()]
tell([client.recv(5).decode(), names])
"""
    answer, names = await inside(box, probe)
    assert answer == "hello"
    assert "lo" in names
    assert not {"eth0", "docker0", "wlan0"} & set(names)


async def test_nothing_beyond_is_reached(box: Sandbox) -> None:
    probe = """
def to(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (address, 53))
routes = text("/proc/net/route").splitlines()[1:]
tell([[attempt(to, a) for a in ("192.0.2.1", "10.0.0.1", "169.254.169.254")], routes,
      attempt(to, "127.0.0.1")])
"""
    answers, routes, own = await inside(box, probe)
    assert set(answers) == {"ENETUNREACH"}
    assert routes == []
    assert own in ("ok", "ECONNREFUSED")


async def test_two_sandboxes_do_not_reach_each_other(
    backend: NamespaceBackend, box: Sandbox
) -> None:
    serve = """
import socket, time
a = socket.create_server(("127.0.0.1", 4444))
b = socket.socket(socket.AF_UNIX); b.bind(%r); b.listen()
print("on", flush=True)
while True:
    for s in (a, b):
        s.accept()[0].sendall(b"hello")
"""
    async with backend.open(fresh()) as other:
        server = await other.start(program("python3", "-c", serve % ABSTRACT))
        assert (await first(server)).startswith(b"on")
        assert await inside(other, REACH % (4444, ABSTRACT)) == ["hello", "hello"]
        assert await inside(box, REACH % (4444, ABSTRACT)) == ["ECONNREFUSED", "ECONNREFUSED"]
        await server.signal(9)


SOCKETS = {
    "raw": "2, 3, 1",
    "raw v6": "10, 3, 58",
    "packet": "17, 3, 0x300",
    "packet dgram": "17, 2, 0x300",
    "AF_ALG": "38, 5, 0",
    "AF_VSOCK": "40, 1, 0",
    "AF_KEY": "15, 3, 2",
    "AF_XDP": "44, 3, 0",
    "AF_CAN": "29, 3, 1",
    "AF_BLUETOOTH": "31, 3, 0",
    "AF_TIPC": "30, 5, 0",
    "AF_RDS": "21, 5, 0",
    "netlink audit": "16, 3, 9",
    "netlink netfilter": "16, 3, 12",
    "netlink generic": "16, 3, 16",
    "netlink uevent": "16, 3, 15",
    "high bits": "2 | 1 << 32, 3 | 1 << 36, 1",
}
CREATE = """
def made(*args):
    fd = libc.syscall(ctypes.c_long({socket}), *[ctypes.c_long(a) for a in args])
    return "ok" if fd >= 0 else errno.errorcode[ctypes.get_errno()]
tell([made(%s), [made(*kind) for kind in ((2, 1, 0), (2, 2, 0), (1, 5, 0), (16, 3, 0))]])
"""


@pytest.mark.parametrize("kind", SOCKETS)
async def test_unusual_sockets_are_refused(one_shot: Sandbox, kind: str) -> None:
    refused, ordinary = await inside(one_shot, CREATE % SOCKETS[kind])
    assert refused == "EPERM"
    assert ordinary == ["ok"] * 4


@pytest.mark.parametrize("kind", ["raw", "packet", "netlink generic", "netlink uevent"])
async def test_unusual_sockets_exist_for_who_may(kind: str) -> None:
    wrap = ("unshare", "--user", "--map-root-user", "--net")
    assert (await outside(CREATE % SOCKETS[kind], wrap=wrap))[0] == "ok"


async def test_interfaces_are_not_changed(box: Sandbox) -> None:
    """The guest's namespace is its own, but it is not its administrator."""
    probe = """
import fcntl
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    tell(attempt(fcntl.ioctl, sock, 0x8914, struct.pack("16sH14x", b"lo", 0x41)))
"""
    assert await inside(box, probe) == "EPERM"
    assert await outside(probe, wrap=("unshare", "--user", "--map-root-user", "--net")) == "ok"
