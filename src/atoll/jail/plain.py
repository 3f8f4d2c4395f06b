"""Workers that run WebAssembly where namespaces cannot be made. Runs on the far side.

    server ── exec ──> launcher: a bare python3 with the engine loaded, an ordinary user
                       └── fork: a worker for one module, or for one operation on files

A worker gives up what it can without namespaces: files but its sandbox's (Landlock), system calls
that reach beyond it (seccomp), memory and time beyond its limits (rlimits), every right. It runs
nothing but our runner of modules, so that a guest is behind the engine too.
"""

import _signal
import contextlib
import importlib
import os
import resource
import socket
import sys
from typing import Any, NoReturn

from atoll.guest import filework, start
from atoll.guest.wasm import components, program, warm
from atoll.guest.wasm.home import Beneath
from atoll.jail import child, landlock, zygote
from atoll.jail import syscalls as sys_
from atoll.jail.launch import CONTROL, die_with_parent
from atoll.wire import message, paths

RUNNERS = ("/opt/atoll/bin/atoll-wasm", "atoll-wasm")
"""How the commands of the wasm backend begin. Others are refused: nothing native runs here."""
_BUNDLE = 3
_MARGIN_BYTES = 128 * 1024 * 1024  # stacks, and the interpreter itself

Request = dict[str, Any]


def run(config: dict[str, Any]) -> NoReturn:
    """Entry point. Never returns: forks until the server is gone."""
    control = socket.socket(fileno=CONTROL)
    try:
        os.close(_BUNDLE)
        die_with_parent(config["parent"])
        shown = {name: _directory(place) for place, name in config["binds"]}
        warm.warm(config["library"])
        components.linker(fuel=False)
        for name in zygote.LATE:  # a worker cannot read any library, not even ours
            importlib.import_module(name)
        zygote.warm(["shutil"])
        _step_down(config["uid"])  # now: that user may not even read the interpreter's library
        die_with_parent(config["parent"])
        sys_.set_name("atoll-workers")
        child.prepare(bytes.fromhex(config["seccomp"]))
        message.send(control, {"op": "ready", "version": sys.version.split()[0]})
        Workers(control, bytes.fromhex(config["final"]), shown).serve()
    except BaseException as error:  # noqa: BLE001 (nobody above; the server is told)
        detail = f"{type(error).__name__}: {error}"
        message.send(control, {"op": "fatal", "detail": detail[:2000]})
    os._exit(0)


def _directory(path: str) -> int:
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def _step_down(uid: int | None) -> None:
    if uid is not None:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        sys_.prctl(sys_.PR_SET_DUMPABLE, 1)
    sys_.drop_capabilities()


class Workers(zygote.Forker):
    """The forks. A `signal` is sent by who can tell a fork from a later process of its number."""

    def __init__(self, control: socket.socket, final: bytes, shown: dict[str, int]) -> None:
        super().__init__(control, control)
        self._final = final
        self._shown = shown
        self._null = os.open(os.devnull, os.O_PATH | os.O_CLOEXEC)
        self._pid = os.getpid()

    def _hear(self, request: Request, fds: list[int]) -> None:
        if request["op"] != "signal":
            super()._hear(request, fds)
            return
        for pid, (_, number) in self._forks.items():
            if number == request["n"]:
                os.kill(pid, request["signal"])

    def _become(self, request: Request, fds: list[int]) -> NoReturn:
        _signal.set_wakeup_fd(-1)
        die_with_parent(self._pid)
        if request["op"] == "start":
            self._program(request, fds)
        self._worker(request, fds)

    def _program(self, request: Request, fds: list[int]) -> NoReturn:
        """`fds` are a socket, stdin, stdout, stderr and the sandbox's root."""
        try:
            report, *stdio, root = fds
            fds[0], held = start.plumb(stdio, report, [root, self._null, *self._shown.values()])
            root, null, *directories = held
            home = Beneath(root, dict(zip(self._shown, directories, strict=True)))
            _bound(request)
            sys_.prctl(sys_.PR_SET_DUMPABLE, 1)  # or its descriptors would be the host's root's
            landlock.restrict((root, null), directories)
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, fds[0])
            sys_.install_filter(self._final)
            os.write(fds[0], b"%d" % os.getpid())
            received = message.receive(sock)
            if received is not None:
                order, blob, extra = received
                child.limit_cpu(order["cpu_s"])
                _enter(home, order, start.whole(extra[0]) if extra else blob, sock.detach())
        except BaseException as error:  # noqa: BLE001 (no caller; whoever waits for it is told)
            os.write(fds[0], f"{type(error).__name__}: {error}".encode()[:500])
        finally:
            os._exit(127)

    def _worker(self, request: Request, fds: list[int]) -> NoReturn:
        """`fds` are a socket and the sandbox's root."""
        try:
            sock, root = fds
            _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
            sys_.prctl(sys_.PR_SET_DUMPABLE, 1)
            own = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            start.close_all_but(own, sock, root)
            landlock.restrict((root,), ())
            filework.serve({**request, "root": root, "own": own}, socket.socket(fileno=sock))
        finally:
            os._exit(0)


def _bound(request: Request) -> None:
    child.lower(resource.RLIMIT_NOFILE, request["open_files"])
    child.lower(resource.RLIMIT_FSIZE, request["disk_bytes"])
    child.lower(resource.RLIMIT_DATA, request["memory_bytes"] + _MARGIN_BYTES)


def _enter(home: Beneath, order: Request, blob: bytes, report: int) -> NoReturn:
    """Run the runner. What the client has got wrong goes to `report`, as JSON."""
    stage = "cwd"
    try:
        home.enter(order["cwd"])
        stage = "files"
        start.write_files(home.root, home.cwd, order["files"], blob)
        stage = "exec"
        words = _words(order["argv"])
    except (OSError, paths.BadPath, ValueError) as error:
        start.refuse(report, stage, error)
    os.close(report)
    status = 1
    try:
        program.main(words, home)
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else 1
    except BaseException as error:  # noqa: BLE001 (no caller; its output says it)
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _words(argv: list[str]) -> list[str]:
    if argv[0] in RUNNERS:
        return argv[1:]
    raise FileNotFoundError(2, "only WebAssembly runs here", argv[0])
