"""Run a probe inside a sandbox or on the host, and read the JSON that it tells."""

import json
import platform
import subprocess
from dataclasses import replace
from typing import Any

from anyio import to_thread

from atoll.core.ports import Sandbox
from atoll.testing.backend.running import Done, python, run

PRELUDE = """
import ctypes, errno, json, os, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)

def tell(value):
    sys.stdout.write(json.dumps(value) + "\\n")
    sys.stdout.flush()

def call(number, *args):
    "A raw system call: 'ok', or the name of the error."
    ctypes.set_errno(0)
    done = libc.syscall(ctypes.c_long(number), *[
        ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    return "ok" if done >= 0 else errno.errorcode[ctypes.get_errno()]

def attempt(act, *args):
    "What the act returns when that is text or a number, else 'ok'; or the name of its error."
    try:
        done = act(*args)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))
    return done if isinstance(done, (str, int)) and not isinstance(done, bool) else "ok"

def text(path):
    with open(path, "rb", buffering=0) as file:
        return file.read(65536).decode(errors="replace")

def put(path, value="x"):
    with open(path, "w") as file:
        file.write(value)
"""
HOST_PYTHON = "/usr/bin/python3"
USERNS = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--uts")
REFUSED = ("EPERM", "ENOSYS")

_NUMBERS = {
    "x86_64": {
        "clone": 56, "ptrace": 101, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166,
        "keyctl": 250, "socket": 41, "ioctl": 16, "prctl": 157,
        "process_vm_readv": 310, "open_by_handle_at": 304, "mknod": 133,
    },
    "aarch64": {
        "clone": 220, "ptrace": 117, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39,
        "keyctl": 219, "socket": 198, "ioctl": 29, "prctl": 167,
        "process_vm_readv": 270, "open_by_handle_at": 265, "mknod": 33,
    },
}  # fmt: skip
NUMBER = _NUMBERS.get(platform.machine(), {}) | {
    "clone3": 435, "pidfd_open": 434, "pidfd_getfd": 438,
}  # fmt: skip


def program(text: str) -> str:
    """The probe with its prelude; `{name}` of a system call becomes its number."""
    for name, number in NUMBER.items():
        text = text.replace("{" + name + "}", str(number))
    return PRELUDE + text


async def attack(box: Sandbox, text: str, *, wall_s: float = 10.0, **fields: Any) -> Done:
    """Run a probe in a sandbox to its end."""
    return await run(box, replace(python(program(text), wall_s=wall_s), **fields))


async def inside(box: Sandbox, text: str, **fields: Any) -> Any:
    """What a probe tells from inside a sandbox."""
    done = await attack(box, text, **fields)
    assert done.stdout.strip(), (done.exit, done.stderr.decode(errors="replace"))
    return json.loads(done.stdout.splitlines()[-1])


async def outside(
    text: str, *, wrap: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> Any:
    """What the same probe tells as a plain program of the host's."""

    def ran() -> Any:
        done = subprocess.run(
            [*wrap, HOST_PYTHON, "-c", program(text)],
            capture_output=True, timeout=15, check=False, env=env, cwd="/",
        )  # fmt: skip
        assert done.stdout.strip(), done.stderr.decode(errors="replace")
        return json.loads(done.stdout.splitlines()[-1])

    return await to_thread.run_sync(ran)
