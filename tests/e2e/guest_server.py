"""A server that runs inside a sandbox: an honest one at 8080, hostile ones by path at 8081.

Sent there as text. Only the standard library, and nothing of ours.
"""

import base64
import hashlib
import http.server
import json
import socket
import struct
import threading
import time
from collections.abc import Callable


class Honest(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self) -> None:
        if self.headers.get("Upgrade") == "websocket":
            websocket(self)
            return
        special = {"/ticks": self.ticks, "/big": self.big, "/elsewhere": self.elsewhere}
        special.get(self.path, self.tell)()

    def ticks(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            self.wfile.write(b"2\r\n%d\n\r\n" % number)
            self.wfile.flush()
            time.sleep(0.3)  # waits on purpose: a program that prints now and then
        self.wfile.write(b"0\r\n\r\n")

    def big(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(64 << 20))
        self.end_headers()
        for _ in range(64):
            self.wfile.write(b"x" * (1 << 20))

    def elsewhere(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/there")
        self.send_header("Set-Cookie", "atoll_session=forged")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def tell(self) -> None:
        data = self.body()
        said = json.dumps(
            {
                "method": self.command,
                "path": self.path,
                "headers": {name.lower(): value for name, value in self.headers.items()},
                "size": len(data),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)


def frame(opcode: int, data: bytes, fin: int = 0x80) -> bytes:
    if len(data) < 126:
        return bytes((fin | opcode, len(data))) + data
    return bytes((fin | opcode, 127)) + struct.pack(">Q", len(data)) + data


def unframe(read: Callable[[int], bytes]) -> tuple[int, bytes]:
    """The next frame; opcode 8 at the end."""
    head = read(2)
    if len(head) < 2:
        return 8, b""
    size = head[1] & 127
    if size > 125:
        size = int.from_bytes(read(2 if size == 126 else 8), "big")
    mask = int.from_bytes((read(4) * (size // 4 + 1))[:size], "big")
    return head[0] & 15, (int.from_bytes(read(size), "big") ^ mask).to_bytes(size, "big")


SAYS = {
    b"close": frame(8, struct.pack(">H", 4321) + b"done"),
    b"big": frame(2, b"x" * (2 << 20)),
    b"ping": frame(9, b"are you there"),
}


def websocket(handler: Honest) -> None:
    """Echo, text in two fragments; some words have other answers."""
    accept = handler.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    handler.send_response(101)
    handler.send_header("Upgrade", "websocket")
    handler.send_header("Connection", "Upgrade")
    digest = hashlib.sha1(accept.encode()).digest()
    handler.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
    wanted = handler.headers.get("Sec-WebSocket-Protocol")
    if wanted:
        handler.send_header("Sec-WebSocket-Protocol", wanted.split(",")[-1].strip())
    handler.end_headers()
    handler.close_connection = True
    while True:
        opcode, data = unframe(handler.rfile.read)
        if opcode == 8:
            handler.wfile.write(frame(8, data))
            return
        if opcode == 10:
            handler.wfile.write(frame(1, b"pong " + data))
        elif data in SAYS:
            handler.wfile.write(SAYS[data])
        elif opcode == 1:
            handler.wfile.write(frame(1, data[:1], fin=0) + frame(0, data[1:]))
        else:
            handler.wfile.write(frame(opcode, data))


OK = b"HTTP/1.1 200 OK\r\n"
# By path: what is sent at once, and what then again and again with a pause (None: it hangs up).
HOSTILE = {
    b"/silent": (b"", b"", 60.0),
    b"/slow-loris": (OK, b"X-A: b\r\n", 0.05),
    b"/endless-headers": (OK, b"X-A: b\r\n" * 1000, 0.0),
    b"/giant-header": (OK + b"X-A: ", b"b" * 65536, 0.0),
    b"/endless-status": (b"", b"2" * 65536, 0.0),
    b"/continue-for-ever": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
    b"/split": (OK + b"X-A: a\rSet-Cookie: atoll_session=forged\r\n\r\n", None, 0.0),
    b"/two-answers": (
        OK + b"Content-Length: 2\r\n\r\nok" + OK + b"Set-Cookie: a\r\n\r\n",
        None,
        0.0,
    ),
    b"/two-lengths": (OK + b"Content-Length: 2\r\nContent-Length: 9\r\n\r\nok", None, 0.0),
    b"/switch": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", None, 0.0),
    b"/odd-status": (b"HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n", None, 0.0),
    b"/junk": (b"\x00\xff\x00\xff\r\n\r\n" * 10, None, 0.0),
    b"/hang-up": (b"", None, 0.0),
    b"/short": (OK + b"Content-Length: 100\r\n\r\nshort", None, 0.0),
    b"/stalls": (OK + b"Content-Length: 100\r\n\r\nshort", b"", 60.0),
    b"/endless-chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1" * 65536, 0.0),
    b"/old": (b"HTTP/1.0 200 OK\r\n\r\nto the end", None, 0.0),
}


def hostile(line: socket.socket) -> None:
    """What a request's path asks for; the request itself is barely read."""
    with line:
        first, again, pause_s = HOSTILE[line.recv(65536).split(b" ")[1]]
        line.sendall(first)
        while again is not None:
            line.sendall(again)
            time.sleep(pause_s)  # waits on purpose: that is the attack


def listen(port: int, serve: Callable[[socket.socket], None]) -> None:
    server = socket.create_server(("127.0.0.1", port))

    def run(line: socket.socket) -> None:
        try:
            serve(line)
        except OSError:
            line.close()

    def accept() -> None:
        while True:
            line, _ = server.accept()
            threading.Thread(target=run, args=(line,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def echo(line: socket.socket) -> None:
    with line:
        while data := line.recv(65536):
            line.sendall(data)
        line.sendall(b"bye")


if __name__ == "__main__":
    listen(8081, hostile)
    listen(8082, echo)
    listen(9999, echo)
    honest = http.server.ThreadingHTTPServer(("127.0.0.1", 8080), Honest)
    print("ready", flush=True)
    honest.serve_forever()
