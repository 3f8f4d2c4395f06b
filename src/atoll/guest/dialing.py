"""Connect to what listens on a sandbox's loopback, and hand the connection to the server.

Runs in the sandbox's network namespace, where nothing but this way leads from outside.
"""

import errno
import socket

CONNECT_S = 5.0
OK = b"ok"
_PLACES = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def serve(port: int, sock: socket.socket) -> None:
    """Send `OK` with the connection's descriptor, or the names of the errors."""
    said: list[str] = []
    for family, host in _PLACES:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as line:
                line.settimeout(CONNECT_S)
                line.connect((host, port))
                socket.send_fds(sock, [OK], [line.fileno()])
                return
        except TimeoutError:
            said.append("ETIMEDOUT")
        except OSError as error:
            said.append(errno.errorcode.get(error.errno or 0, "error"))
    sock.send(" ".join(said).encode())
