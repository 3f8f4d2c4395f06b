"""What a URL beneath `/v1/sandboxes/{sandbox}/ports/{port}` names."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.types import Scope

from atoll.http.errors import Refused

ROUTE = "/v1/sandboxes/{sandbox}/ports/{port}"
_DEPTH = 6
_SANDBOX = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Place:
    """A port of a sandbox, and what to ask of the program there, exactly as the client wrote it."""

    sandbox: str
    port: int
    target: bytes

    @property
    def prefix(self) -> str:
        """Where the program's `/` is at this server."""
        return f"/v1/sandboxes/{self.sandbox}/ports/{self.port}"


def port_of(text: str) -> int:
    """The port's number. 404 for what is none."""
    if not _PORT.fullmatch(text) or int(text) > _MAX_PORT:
        raise Refused(404, f"A port is a number from 1 to {_MAX_PORT}.")
    return int(text)


def place_of(scope: Scope) -> Place:
    """Out of the path as it was sent, in which the rest may be escaped in any way."""
    parameters = scope["path_params"]
    sandbox, port = str(parameters["sandbox"]), port_of(str(parameters["port"]))
    if not _SANDBOX.fullmatch(sandbox):
        raise Refused(404, "That is no sandbox's id or name.")
    raw = bytes(scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0]
    words = raw.split(b"/", _DEPTH)
    expected = ["", "v1", "sandboxes", sandbox, "ports", str(port)]
    if [unquote(word.decode("latin-1")) for word in words[:_DEPTH]] != expected:
        raise Refused(400, "The path must be written plainly up to the port.")
    target = b"/" + (words[_DEPTH] if len(words) > _DEPTH else b"")
    query = bytes(scope.get("query_string", b""))
    return Place(sandbox, port, target + (b"?" + query if query else b""))
