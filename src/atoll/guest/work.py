"""One piece of work for the server inside a sandbox: an operation on files, or on processes."""

import socket
from typing import Any

from atoll.guest import processes

Request = dict[str, Any]


def serve(request: Request, sock: socket.socket | None, own: int) -> None:
    """Do it. `own` is this process's directory of descriptors, which no /proc in here shows."""
    work = request["work"]
    if work == "kill":
        processes.kill_marked(request["pid"])
    elif work == "signal":
        processes.signal_group(request["pid"], request["signal"])
    elif sock is not None and work == "file":
        from atoll.guest import filework  # noqa: PLC0415 (tar and its like, for the rest nothing)

        filework.serve({**request, "own": own}, sock)
    elif sock is not None and work == "dial":
        from atoll.guest import dialing  # noqa: PLC0415 (few sandboxes ever need it)

        dialing.serve(request["port"], sock)
    elif sock is not None and work == "memory":
        processes.watch_memory(request["bytes"], sock)
