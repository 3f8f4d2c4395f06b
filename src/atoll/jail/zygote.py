"""A warm interpreter that forks sandboxes. Runs on the far side, single-threaded, as pid 1.

One message in (`spawn`, with the sandbox's descriptors), one out (its pidfd). It holds nothing of
any sandbox: a child gets its own control socket and talks to the server alone.
"""

import _signal
import gc
import importlib
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from atoll.jail import child, mounts
from atoll.jail import syscalls as sys_
from atoll.wire import message

CONTROL = 4
# What short scripts import most and what our own agent needs. Each module costs every fork the
# copying of its pages, so what starts threads, registers fork hooks or loads large libraries
# (ssl, asyncio, logging, subprocess) is left to those programs that import it.
COMMON = (
    "bisect", "collections", "contextlib", "copy", "datetime", "enum", "errno", "fcntl",
    "fnmatch", "functools", "heapq", "io", "itertools", "json", "keyword", "math", "operator",
    "os", "re", "resource", "select", "signal", "socket", "stat", "string", "struct",
    "sys", "termios", "time", "types", "typing",
)  # fmt: skip


def run(config: dict[str, Any]) -> NoReturn:
    """Never returns: forks until the server is gone."""
    sys.argv[:] = ["python3"]
    sys.path[:] = [place for place in sys.path if place]
    control = socket.socket(fileno=CONTROL)
    os.close(3)
    try:
        _warm(config["preload"])
        message.send(control, {"op": "ready", "version": sys.version.split()[0]})
        _serve(control, bytes.fromhex(config["seccomp"]), mounts.Cover("/proc"))
    except BaseException as error:  # noqa: BLE001 (nobody above; the server is told)
        detail = f"{type(error).__name__}: {error}"
        message.send(control, {"op": "fatal", "detail": detail[:2000]})
    os._exit(0)


def _warm(preload: list[str]) -> None:
    for name in COMMON:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    for name in preload:
        importlib.import_module(name)
    if len(os.listdir("/proc/self/task")) != 1:
        raise RuntimeError(
            f"preloading {preload} started threads, and a process with threads cannot be forked"
        )
    sys.path_importer_cache.clear()
    gc.collect()
    gc.freeze()


def _serve(control: socket.socket, seccomp: bytes, cover: mounts.Cover) -> None:
    sys_.set_name("atoll-zygote")
    wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, _noted)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    while True:
        ready = dict(poll.poll())
        if wake_read in ready:
            os.read(wake_read, 4096)
            _reap()
        if control.fileno() in ready:
            received = message.receive(control)
            if received is None:
                return
            _spawn(control, *received, seccomp, cover)


def _noted(_number: int, _frame: object) -> None:
    """Exist, so that SIGCHLD reaches the wake-up descriptor."""


def _reap() -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


def _spawn(
    control: socket.socket,
    request: message.Header,
    _blob: bytes,
    fds: list[int],
    seccomp: bytes,
    cover: mounts.Cover,
) -> None:
    pidfd = -1
    try:
        pid = sys_.clone(child.NAMESPACES)
        if pid == 0:
            _signal.set_wakeup_fd(-1)
            child.run(request, fds, seccomp, cover)
        pidfd = os.pidfd_open(pid)
        message.send(control, {"op": "spawned", "id": request["id"]}, fds=(pidfd,))
    except OSError as error:
        detail = str(error.strerror or error)
        message.send(control, {"op": "refused", "id": request["id"], "detail": detail})
    finally:
        for fd in (*fds, pidfd):
            if fd >= 0:
                os.close(fd)
