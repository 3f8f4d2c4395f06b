"""Terminals: pushing characters into them, and reaching another's."""

import json
from dataclasses import replace
from typing import Any

import pytest

from atoll.backends.namespace import NamespaceBackend
from atoll.core.model import TtySize
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import first, fresh, run
from atoll.testing.backend.running import program as command
from tests.security.probe import inside, outside, program

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

PUSH = """
def control(fd, request, value):
    done = libc.syscall(ctypes.c_long({ioctl}), ctypes.c_long(fd), ctypes.c_long(request), value)
    return "ok" if done >= 0 else errno.errorcode[ctypes.get_errno()]
size = ctypes.create_string_buffer(8)
tell([[control(0, 0x5412 | high << 32, b"x") for high in (0, 1, 0x80000000 - 1)],
      control(0, 0x541C, b"\\x02"), control(0, 0x5413, size), control(0, 0x5414, size)])
"""


async def on_terminal(box: Sandbox, text: str) -> Any:
    await box.files.write("probe.py", program(text).encode())
    spec = replace(command("python3", "probe.py"), tty=TtySize())
    done = await run(box, spec)
    return json.loads(done.stdout.splitlines()[-1])


async def test_nothing_is_pushed_into_a_terminal(box: Sandbox) -> None:
    """TIOCSTI and TIOCLINUX, also with bits that the kernel ignores and a filter compares."""
    pushed, console, read_size, set_size = await on_terminal(box, PUSH)
    assert pushed == ["EPERM"] * 3
    assert console == "EPERM"
    assert (read_size, set_size) == ("ok", "ok")


async def test_the_request_gets_past_the_door_on_the_host() -> None:
    """There it is the terminal, or the kernel's setting, that answers."""
    pushed, _, _, _ = await outside(PUSH)
    assert set(pushed) <= {"ENOTTY", "EIO"}


async def test_a_terminal_is_of_its_own_session(box: Sandbox) -> None:
    probe = """
tell([os.getsid(0) == os.getpid(), os.isatty(0), os.ttyname(0), sorted(os.listdir("/dev/pts"))])
"""
    leader, is_tty, name, listed = await on_terminal(box, probe)
    assert (leader, is_tty) == (True, True)
    assert name.startswith("/dev/pts/")
    assert len([one for one in listed if one.isdigit()]) == 1


async def test_another_sandboxs_terminal_is_not_there(
    backend: NamespaceBackend, box: Sandbox
) -> None:
    async with backend.open(fresh()) as other:
        spec = replace(command("sh", "-c", "echo on; sleep 20"), tty=TtySize())
        process = await other.start(spec)
        assert await first(process)
        own = "tell([n for n in os.listdir('/dev/pts') if n.isdigit()])"
        assert await inside(other, own) == ["0"]
        assert await inside(box, own) == []
        await process.signal(9)


async def test_a_program_without_a_terminal_gets_none(box: Sandbox) -> None:
    probe = "tell([os.isatty(0), attempt(os.open, '/dev/tty', os.O_RDWR)])"
    assert await inside(box, probe) == [False, "ENXIO"]
