"""System calls that a guest may not make. The same call gets past the door on the host."""

import platform
from typing import NamedTuple

import pytest

from atoll.core.ports import Sandbox
from tests.security.probe import REFUSED, inside, outside

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.needs("userns"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of x86-64"),
]


class Refused(NamedTuple):
    """A call with arguments that do nothing anywhere: past the door they are an error."""

    name: str
    number: int
    args: str
    needs: str = "userns"


CALLS = [
    Refused("keyctl", 250, "0, -3, 0"),
    Refused("add_key", 248, "None, None, None, 0, 0"),
    Refused("request_key", 249, "None, None, None, 0"),
    Refused("bpf", 321, "0, None, 0", needs="root"),
    Refused("perf_event_open", 298, "None, 0, -1, -1, 0"),
    Refused("io_uring_setup", 425, "0, None"),
    Refused("io_uring_enter", 426, "-1, 0, 0, 0, None, 0"),
    Refused("io_uring_register", 427, "-1, 0, None, 0"),
    Refused("userfaultfd", 323, "1"),
    Refused("finit_module", 313, "-1, b'', 0", needs="root modules"),
    Refused("delete_module", 176, "b'atoll_none', 0", needs="root modules"),
    Refused("settimeofday", 164, "None, ctypes.byref((ctypes.c_int * 2)(9999, 0))", needs="root"),
    Refused("clock_settime", 227, "0, None"),
    Refused("adjtimex", 159, "None"),
    Refused("clock_adjtime", 305, "0, None"),
    Refused("reboot", 169, "0, 0, 0, None", needs="root"),
    Refused("swapon", 167, "b'/nonexistent', 0", needs="root"),
    Refused("swapoff", 168, "b'/nonexistent'", needs="root"),
    Refused("syslog", 103, "10, None, 0", needs="root"),
    Refused("chroot", 161, "b'/nonexistent'"),
    Refused("pivot_root", 155, "b'/nonexistent', b'/nonexistent'", needs="root"),
    Refused("open_by_handle_at", 304, "-1, None, 0"),
    Refused("setns", 308, "-1, 0"),
    Refused("umount2", 166, "b'/nonexistent', 0x100"),
    Refused("mount", 165, "None, None, None, 0, None"),
    Refused("open_tree", 428, "-1, None, 0"),
    Refused("move_mount", 429, "-1, None, -1, None, 0", needs="root"),
    Refused("fsopen", 430, "None, 0", needs="root"),
    Refused("fsmount", 432, "-1, 0, 0", needs="root"),
    Refused("mount_setattr", 442, "-1, None, 0, None, 0"),
    Refused("listmount", 458, "None, None, 0, 0"),
    Refused("fanotify_init", 300, "0x200, 0xffffff"),
    Refused("move_pages", 279, "0, 0, None, None, None, 0"),
    Refused("personality", 135, "0x40000"),
    Refused("kcmp", 312, "-1, -1, 0, 0, 0"),
]
NAMES = [one.name for one in CALLS]
PROBE = "tell(call(%d, %s))"


@pytest.mark.parametrize("one", CALLS, ids=NAMES)
async def test_the_call_is_refused(one_shot: Sandbox, one: Refused) -> None:
    assert await inside(one_shot, PROBE % (one.number, one.args)) in REFUSED


@pytest.mark.parametrize(
    "one",
    [pytest.param(c, marks=pytest.mark.needs(*c.needs.split())) for c in CALLS],
    ids=NAMES,
)
async def test_the_call_exists_on_the_host(one: Refused) -> None:
    """Else the refusal above would prove nothing. Those for root alone are asked as root."""
    assert await outside(PROBE % (one.number, one.args)) not in REFUSED


# getpid by the gate of 32-bit programs (its number there is 20), and with the x32 bit.
FOREIGN = {
    "i386": "b8 14 00 00 00 cd 80 c3",
    "x32": "b8 27 00 00 40 0f 05 c3",
    "native": "b8 27 00 00 00 0f 05 c3",
}
GATE = """
import mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("%s"))
child = os.fork()
if child == 0:
    place = ctypes.addressof(ctypes.c_char.from_buffer(page))
    os._exit(0 if ctypes.CFUNCTYPE(ctypes.c_int)(place)() == os.getpid() else 1)
tell(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("gate", ["i386", "x32"])
async def test_other_gates_into_the_kernel_are_shut(one_shot: Sandbox, gate: str) -> None:
    """A filter for one architecture's numbers says nothing about another's."""
    assert await inside(one_shot, GATE % FOREIGN["native"]) == 0
    assert await inside(one_shot, GATE % FOREIGN[gate]) != 0


async def test_the_filter_cannot_be_taken_off(one_shot: Sandbox) -> None:
    probe = """
mode = next(l.split()[1] for l in text("/proc/self/status").splitlines() if l[:8] == "Seccomp:")
off = libc.prctl(22, 0, 0, 0, 0)
tell([mode, off, attempt(os.setuid, os.getuid()), call({keyctl}, 0, -3, 0)])
"""
    assert await inside(one_shot, probe) == ["2", -1, "ok", "EPERM"]
    assert (await outside(probe))[0] == "0"
