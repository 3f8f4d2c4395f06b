"""Many kept connections from one light process: `python -m atoll.cli.bench.load`.

Reads a JSON object from stdin (host, port, request as text, clients, warm_s, seconds, expect),
writes one to stdout. One thread and epoll; an answer is complete when its content length is there.
"""

import json
import select
import socket
import sys
import time
from dataclasses import dataclass, field

_CHUNK = 65536


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    began: float = 0.0
    got: bytes = b""


@dataclass(slots=True)
class _Load:
    request: bytes
    expect: bytes
    poll: select.epoll
    samples_ms: list[float] = field(default_factory=list[float])
    errors: int = 0
    first_error: str = ""

    def ask(self, client: _Client) -> None:
        client.got = b""
        client.began = time.perf_counter()
        client.connection.sendall(self.request)

    def hear(self, client: _Client) -> bool:
        """Take what came; True when an answer is complete (and counted)."""
        data = client.connection.recv(_CHUNK)
        if not data:
            raise ConnectionError("the server closed a connection")
        client.got += data
        head, found, body = client.got.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return False
        if head.startswith(b"HTTP/1.1 200") and self.expect in body:
            self.samples_ms.append((time.perf_counter() - client.began) * 1000)
        else:
            self.errors += 1
            self.first_error = self.first_error or client.got[:400].decode("utf-8", "replace")
        return True

    def run(self, clients: dict[int, _Client], seconds: float) -> float:
        """Keep every client asking for that long; how long it really took."""
        self.samples_ms.clear()
        began = time.perf_counter()
        end = began + seconds
        waiting = len(clients)
        for client in clients.values():
            self.ask(client)
        while waiting:
            for descriptor, _ in self.poll.poll(60):
                client = clients[descriptor]
                if not self.hear(client):
                    continue
                if time.perf_counter() < end:
                    self.ask(client)
                else:
                    waiting -= 1
        return time.perf_counter() - began


def _length(head: bytes) -> int:
    _, found, after = head.lower().partition(b"content-length:")
    return int(after.partition(b"\r\n")[0]) if found else 0


def main() -> None:
    """Warm up, measure, report."""
    order = json.load(sys.stdin)
    poll = select.epoll()
    load = _Load(order["request"].encode(), order["expect"].encode(), poll)
    clients: dict[int, _Client] = {}
    for _ in range(order["clients"]):
        connection = socket.create_connection((order["host"], order["port"]), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        clients[connection.fileno()] = _Client(connection)
        poll.register(connection.fileno(), select.EPOLLIN)
    load.run(clients, order["warm_s"])
    taken_s = load.run(clients, order["seconds"])
    report = {
        "seconds": taken_s,
        "samples_ms": load.samples_ms,
        "errors": load.errors,
        "first_error": load.first_error,
    }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
