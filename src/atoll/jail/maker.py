"""Makes the namespaces of sandboxes and what is mounted in them. Runs on the far side, as pid 1.

A sandbox's first process shares the maker's memory and only sleeps: it holds the namespaces, takes
orphans in, and with it the kernel ends all that runs in them. The maker visits each new sandbox to
set it up and comes back; since it forks nothing that writes, it copies no page. Whatever else the
server asks for goes on to the zygote, its only child.
"""

import _signal
import mmap
import os
import select
import signal
import socket
import sys
from ctypes import addressof, c_char
from typing import Any, NoReturn

from atoll.jail import mounts, zygote
from atoll.jail import syscalls as sys_
from atoll.jail.launch import map_ids
from atoll.wire import message

CONTROL = 4
UID = 1000
NAMESPACES = (
    sys_.CLONE_NEWUSER | sys_.CLONE_NEWNS | sys_.CLONE_NEWPID | sys_.CLONE_NEWIPC
    | sys_.CLONE_NEWUTS | sys_.CLONE_NEWNET
)  # fmt: skip
# Not the user namespace, from which there is no way back.
_VISITED = sys_.CLONE_NEWNS | sys_.CLONE_NEWUTS | sys_.CLONE_NEWNET
_STACK = 16 * 1024


def run(config: dict[str, Any]) -> NoReturn:
    """Never returns: makes sandboxes until the server or the zygote is gone."""
    sys.argv[:] = ["python3"]
    sys.path[:] = [place for place in sys.path if place]
    control = socket.socket(fileno=CONTROL)
    os.close(3)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        ours.close()
        zygote.run(config, control, theirs)
    theirs.close()
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
    sys_.set_name("atoll-maker")
    sys_.prctl(sys_.PR_SET_DUMPABLE, 0)
    try:
        Maker(control, ours, pid).serve()
    except OSError as error:
        message.send(control, {"op": "fatal", "detail": str(error)[:2000]})
    os._exit(0)


class Maker:
    """One image's maker."""

    def __init__(self, control: socket.socket, zygote: socket.socket, pid: int) -> None:
        self._control = control
        self._zygote = zygote
        self._home = os.pidfd_open(pid)
        self._memory = mmap.mmap(-1, _STACK)
        self._stack = addressof(c_char.from_buffer(self._memory)) + _STACK

    def serve(self) -> None:
        """Answer until one of the two sockets is closed."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._zygote, select.POLLIN)
        while True:
            ready = dict(poll.poll())
            received = message.receive(self._control) if self._control.fileno() in ready else None
            if received is None:
                return
            request, _, fds = received
            try:
                if request["op"] == "make":
                    self._make(request, fds)
                else:
                    message.send(self._zygote, request, fds=tuple(fds))
            finally:
                for fd in fds:
                    os.close(fd)

    def _make(self, request: message.Header, fds: list[int]) -> None:
        pidfd = disk = -1
        try:
            pidfd = self._pause()
            disk = self._furnish(pidfd, request)
        except OSError as error:
            if pidfd >= 0:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            detail = str(error.strerror or error)
            message.send(self._control, {"op": "refused", "id": request["id"], "detail": detail})
        else:
            answer = {"op": "made", "id": request["id"]}
            message.send(self._control, answer, fds=(pidfd, disk))
            if request["start"] is not None:
                message.send(self._zygote, request["start"], fds=(pidfd, *fds))
        finally:
            for fd in (pidfd, disk):
                if fd >= 0:
                    os.close(fd)

    def _pause(self) -> int:
        """A sandbox's first process, with its user mapped; its pidfd."""
        sys_.prctl(sys_.PR_SET_DUMPABLE, 1)  # or its maps would belong to the host's root
        try:
            pid = sys_.pause(NAMESPACES, self._stack)
            pidfd = os.pidfd_open(pid)
            try:
                map_ids(UID, 0, 0, pid)
            except OSError:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                os.close(pidfd)
                raise
        finally:
            sys_.prctl(sys_.PR_SET_DUMPABLE, 0)
        return pidfd

    def _furnish(self, pidfd: int, request: message.Header) -> int:
        """Go there, set everything up, come back; a descriptor that tells how full its disk is."""
        sys_.setns(pidfd, _VISITED)
        try:
            socket.sethostname(request["hostname"])
            sys_.loopback_up()
            mounts.arrange(request)
            return os.open("/tmp", os.O_PATH | os.O_CLOEXEC)
        finally:
            sys_.setns(self._home, _VISITED)
