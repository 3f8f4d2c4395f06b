"""The proxy: what is judged is what is connected to, and one request is all that goes on."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import anyio
import dns.message
import dns.rcode
import dns.rdatatype
import pytest
from anyio.abc import SocketAttribute, SocketStream

from atoll.core.model import NetworkPolicy
from atoll.core.network import Address, rules
from atoll.network import proxy as module
from atoll.network.names import Names
from atoll.network.proxy import Proxy
from tests.network.test_hello import greeting

pytestmark = pytest.mark.anyio

ZONE = {
    ("a.org.", "A"): "93.184.215.14",
    ("a.org.", "AAAA"): "2606:2800:21f::14",
    ("six.org.", "AAAA"): "2606:2800:21f::15",
    ("other.org.", "A"): "93.184.215.16",
    ("rebound.org.", "A"): "169.254.169.254",
    ("home.org.", "A"): "127.0.0.1",
    ("mapped.org.", "AAAA"): "::ffff:169.254.169.254",
}
DEADLINE_S = 15.0


class World:
    """A name server, and a far host that answers at whatever address is dialled."""

    def __init__(self) -> None:
        self.zone = dict(ZONE)
        self.dialled: list[str] = []
        self.heard = bytearray()
        self.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nfar"
        self.until = b"\r\n\r\n"
        self.port = 0

    async def ask(self, question: dns.message.Message) -> dns.message.Message:
        one = question.question[0]
        kind = dns.rdatatype.to_text(one.rdtype)
        answer = dns.message.make_response(question)
        found = self.zone.get((str(one.name), kind))
        if found is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
            return answer
        text = f"id {answer.id}\nflags QR RD RA\n;ANSWER\n{one.name} 0 IN {kind} {found}"
        return dns.message.from_text(text)

    async def pin(self, addresses: Sequence[Address], ports: frozenset[int | None]) -> None:
        pytest.fail(f"the proxy lets nothing through for the guest: {addresses} {ports}")

    async def dial(self, address: str, port: int) -> SocketStream:
        self.dialled.append(f"{address} {port}")
        return await anyio.connect_tcp("127.0.0.1", self.port)

    async def far(self, peer: SocketStream) -> None:
        async with peer:
            while self.until not in self.heard:
                try:
                    self.heard += await peer.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
            await peer.send(self.answer)

    @asynccontextmanager
    async def proxied(
        self, *allow: str, mode: str = "allow"
    ) -> AsyncGenerator[tuple[int, Names], None]:
        names = Names(rules(NetworkPolicy(mode, allow, ("denied.org",))), self.ask, self.pin)
        proxy = Proxy(names.reachable, self.dial)
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as far,
            await anyio.create_tcp_listener(local_host="127.0.0.1") as near,
            anyio.create_task_group() as tasks,
        ):
            self.port = far.extra(SocketAttribute.local_port)
            tasks.start_soon(far.serve, self.far)
            tasks.start_soon(near.serve, proxy.serve)
            yield near.extra(SocketAttribute.local_port), names
            tasks.cancel_scope.cancel()


async def said(port: int, request: bytes) -> bytes:
    """All that comes back for it."""
    got = bytearray()
    with anyio.fail_after(DEADLINE_S):
        async with await anyio.connect_tcp("127.0.0.1", port) as peer:
            try:
                await peer.send(request)
                while True:
                    got += await peer.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return bytes(got)


def get(url: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {url} HTTP/1.1", "Host: wrong.org", *headers, "", ""]).encode()


def connect(authority: str) -> bytes:
    return f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("allow", "url", "dialled"),
    [
        ("a.org", "http://a.org/x", "93.184.215.14 80"),
        ("a.org", "http://A.ORG./x", "93.184.215.14 80"),
        ("a.org:8080", "http://a.org:8080/x", "93.184.215.14 8080"),
        ("*.org", "http://six.org/x", "2606:2800:21f::15 80"),
        ("93.184.215.14", "http://93.184.215.14/x", "93.184.215.14 80"),
        ("2606:2800:21f::14", "http://[2606:2800:21f::14]/x", "2606:2800:21f::14 80"),
        ("10.0.0.1", "http://10.0.0.1/x", "10.0.0.1 80"),
    ],
)
async def test_what_is_allowed_is_reached_at_the_address_that_was_judged(
    allow: str, url: str, dialled: str
) -> None:
    world = World()
    async with world.proxied(allow) as (port, names):
        assert (await said(port, get(url))).endswith(b"\r\n\r\nfar")
    assert world.dialled == [dialled]
    assert world.heard.startswith(b"GET /x HTTP/1.1\r\n")
    assert names.refused == 0


@pytest.mark.parametrize(
    ("mode", "allow", "host"),
    [
        ("allow", "a.org", "other.org"),
        ("allow", "a.org:443", "a.org"),
        ("allow", "*.a.org", "a.org"),
        ("allow", "a.org", "93.184.215.14"),
        ("internet", "a.org", "denied.org"),
        ("internet", "a.org", "rebound.org"),
        ("internet", "a.org", "10.0.0.1"),
        ("internet", "::/64", "mapped.org"),
        ("internet", "127.0.0.1", "home.org"),
        ("internet", "127.0.0.1", "127.0.0.1"),
        ("internet", "::1", "[::1]"),
        ("none", "a.org", "a.org"),
    ],
)
@pytest.mark.parametrize("tunnel", [True, False])
async def test_what_is_not_allowed_is_refused_and_counted(
    mode: str, allow: str, host: str, tunnel: bool
) -> None:
    world = World()
    request = connect(f"{host}:80") if tunnel else get(f"http://{host}/")
    async with world.proxied(allow, mode=mode) as (port, names):
        answer = await said(port, request)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.endswith(b"The sandbox's network policy does not allow this host.\n")
    assert (world.dialled, names.refused) == ([], 1)


async def test_a_name_that_is_bound_anew_is_judged_anew() -> None:
    world = World()
    async with world.proxied("a.org") as (port, _):
        assert b"200 OK" in await said(port, get("http://a.org/"))
        world.zone = {("a.org.", "A"): "169.254.169.254"}
        assert b" 403 " in await said(port, get("http://a.org/"))
    assert world.dialled == ["93.184.215.14 80"]


async def test_a_redirect_to_a_forbidden_host_is_refused_when_it_is_followed() -> None:
    world = World()
    world.answer = b"HTTP/1.1 302 F\r\nLocation: http://other.org/\r\nContent-Length: 0\r\n\r\n"
    async with world.proxied("a.org") as (port, _):
        assert b"Location: http://other.org/" in await said(port, get("http://a.org/"))
        assert b" 403 " in await said(port, get("http://other.org/"))
    assert world.dialled == ["93.184.215.14 80"]


async def test_a_tunnel_carries_both_ways() -> None:
    world = World()
    world.until, world.answer = b"end", b"and back"
    async with world.proxied("a.org:443") as (port, _):
        answer = await said(port, connect("a.org:443") + b"there end")
    head, _, rest = answer.partition(b"\r\n\r\n")
    assert (head.split(b" ")[1], rest) == (b"200", b"and back")
    assert (bytes(world.heard), world.dialled) == (b"there end", ["93.184.215.14 443"])


async def test_the_host_is_told_its_own_name_and_nothing_meant_for_the_proxy() -> None:
    world = World()
    async with world.proxied("a.org") as (port, _):
        await said(
            port, get("http://a.org/", "Connection: x-hop", "X-Hop: 1", "Proxy-A: b", "X: y")
        )
    lines = bytes(world.heard).lower().split(b"\r\n")
    assert lines[1:] == [b"host: a.org", b"x: y", b"connection: close", b"", b""]


async def test_a_second_request_behind_the_first_does_not_go_on() -> None:
    world = World()
    world.until = b"body"
    first = get("http://a.org/", "Content-Length: 4", "Connection: content-length") + b"body"
    async with world.proxied("a.org") as (port, _):
        await said(port, first + get("http://other.org/secret"))
    assert world.heard.endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize(
    "request_",
    [
        get("/"), get("https://a.org/"), get("http:///"), get("http://u@a.org/"),
        get("http://*.org/"), get("http://0x7f.1/"),
        connect("a.org"), connect("93.184.215.0/24:443"), b"\x16\x03\x01\r\n\r\n",
        b"CONNECT a.org:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    ],
)  # fmt: skip
async def test_what_is_no_request_for_a_proxy_is_said_so(request_: bytes) -> None:
    world = World()
    async with world.proxied("a.org") as (port, _):
        assert (await said(port, request_)).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 403 "))
    assert world.dialled == []


async def test_a_head_has_a_bound() -> None:
    world = World()
    async with world.proxied("a.org") as (port, _):
        long = get("http://a.org/", "X: " + "x" * 8 * module.HEAD_BYTES)
        assert b"200 OK" not in await said(port, long)
        assert b"200 OK" in await said(port, get("http://a.org/", "X: " + "x" * 1000))
    assert len(world.dialled) == 1


async def test_more_connections_than_there_are_places_for_are_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_MAX", 0)
    world = World()
    async with world.proxied("a.org") as (port, _):
        assert await said(port, get("http://a.org/")) == b""
    assert world.dialled == []


@pytest.mark.parametrize(
    ("host", "asks", "passes"),
    [
        ("a.org", "a.org", True),
        ("A.org", "a.ORG", True),
        ("a.org", None, True),
        ("93.184.215.14", "other.org", True),
        ("a.org", "other.org", False),
        ("a.org", "x.a.org", False),
    ],
)
async def test_tls_in_a_tunnel_asks_for_the_host_that_the_tunnel_is_for(
    host: str, asks: str | None, passes: bool
) -> None:
    world = World()
    hello = greeting(asks)
    world.until, world.answer = hello, b"and back"
    async with world.proxied("a.org", "93.184.215.14") as (port, _):
        answer = await said(port, connect(f"{host}:443") + hello)
    assert answer.endswith(b"and back") == passes
    assert bytes(world.heard) == (hello if passes else b"")
