"""Other processes: the init, the workers, the server. What may be seen, signalled and traced."""

import os
from pathlib import Path

import anyio
import pytest

from atoll.backends.namespace import NamespaceBackend
from atoll.core.ports import Sandbox
from atoll.testing.backend.running import eventually, finish, first, fresh, program, read, run
from tests.security.probe import attack, inside, outside

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]


async def test_no_descriptor_is_inherited(box: Sandbox) -> None:
    """Neither by the warm interpreter nor by an exec'd program; a leak would be seen."""
    probe = """
import subprocess
listing = "import os; names = os.listdir('/proc/self/fd'); " \\
    "print(sorted(int(n) for n in names if os.path.lexists('/proc/self/fd/' + n)))"
names = os.listdir("/proc/self/fd")
mine = sorted(int(n) for n in names if os.path.lexists("/proc/self/fd/" + n))
held = os.open("/dev/null", os.O_RDONLY)
leak = subprocess.run(["/usr/bin/python3", "-c", listing], pass_fds=[held], capture_output=True)
tell([mine, eval(leak.stdout) == [0, 1, 2, held]])
"""
    assert await inside(box, probe) == [[0, 1, 2], True]
    listed = await run(box, program("ls", "/proc/self/fd"))
    assert listed.stdout.split() == [b"0", b"1", b"2", b"3"]


async def test_the_streams_are_pipes_and_nothing_else(box: Sandbox) -> None:
    probe = "tell([os.readlink(f'/proc/self/fd/{n}').split(':')[0] for n in range(3)])"
    assert await inside(box, probe) == ["pipe", "pipe", "pipe"]


SEEN = """
pids = sorted(int(n) for n in os.listdir("/proc") if n.isdigit())
files = ("environ", "mem", "maps", "cmdline", "status", "root", "cwd", "exe", "fd", "ns/mnt")
tell([pids, [attempt(os.stat, f"/proc/1/{n}") for n in files],
      [attempt(os.stat, f"/proc/self/{n}") for n in files]])
"""


async def test_the_init_is_not_seen(box: Sandbox) -> None:
    pids, init, own = await inside(box, SEEN)
    assert len(pids) == 1
    assert 1 not in pids
    assert set(init) == {"ENOENT"}
    assert set(own) == {"ok"}


TRACE = """
PTRACE_ATTACH, PTRACE_SEIZE, PTRACE_DETACH = 16, 0x4206, 17
def traced(pid):
    done = call({ptrace}, PTRACE_SEIZE, pid, 0, 0)
    buffer = ctypes.create_string_buffer(64)
    local = struct.pack("PN", ctypes.addressof(buffer), 64)
    remote = struct.pack("PN", id(type), 64)
    read = call({process_vm_readv}, pid, local, 1, remote, 1, 0)
    fd = libc.syscall({pidfd_open}, pid, 0)
    return [done, read, call({pidfd_getfd}, fd, 0, 0)]
child = os.fork()
if child == 0:
    time.sleep(5)
    os._exit(0)
found = [traced(%s), traced(child)]
os.kill(child, 9)
tell(found)
"""


async def test_the_init_is_not_traced_or_read(box: Sandbox) -> None:
    init, own = await inside(box, TRACE % "1")
    assert init == ["EPERM", "EPERM", "EPERM"]
    assert own == ["ok", "ok", "ok"]


async def test_the_init_is_not_killed_or_stopped(box: Sandbox) -> None:
    """Signals that the guest sends to pid 1 do nothing, or nothing bad."""
    probe = """
for number in range(1, 65):
    if number not in (32, 33):
        attempt(os.kill, 1, number)
child = os.fork()
if child == 0:
    time.sleep(5)
os.kill(child, 9)
tell(os.WTERMSIG(os.waitpid(child, 0)[1]))
"""
    assert await inside(box, probe) == 9
    await box.files.write("still", b"here")
    assert await inside(box, "tell(attempt(text, '/workspace/still'))") == "here"


LIMIT = """
import resource as r
names = [n for n in dir(r) if n.startswith("RLIMIT_")]
def lowered(pid, name):
    try:
        r.prlimit(pid, getattr(r, name), (0, 0))
    except (OSError, ValueError):
        return "refused"
    return "lowered"
tell([sorted({lowered(1, n) for n in names}), lowered(0, "RLIMIT_CORE")])
"""


async def test_the_inits_limits_are_not_changed(box: Sandbox) -> None:
    """With no descriptors or no processor time left, the init could not serve the client."""
    assert await inside(box, LIMIT) == [["refused"], "lowered"]
    await box.files.write("still", b"here")
    assert await read(box.files, "still") == b"here"


async def test_kill_everybody_spares_the_sandbox(box: Sandbox) -> None:
    done = await run(box, program("sh", "-c", "sleep 30 & kill -9 -1; echo alive"))
    assert done.exit.code != 0 or done.stdout == b"alive\n"
    assert (await run(box, program("echo", "again"))).stdout == b"again\n"


@pytest.mark.parametrize("number", [9, 19])
async def test_what_works_for_the_client_is_out_of_reach(one_shot: Sandbox, number: int) -> None:
    """The guest cannot end or stop the client's file operations; its own processes it can."""
    hunt = await one_shot.start(
        program(
            "python3", "-c",
            "import os, subprocess, sys, time\nnumber = int(sys.argv[1])\n"
            "child = subprocess.Popen(['sleep', '60'])\nos.write(1, b'on\\n')\n"
            "end = time.time() + 20\nhit = set()\n"
            "while time.time() < end and not os.path.exists('stop'):\n for pid in range(3, 400):\n"
            "  if pid != os.getpid():\n   try: os.kill(pid, number)\n   except OSError: pass\n"
            "   else: hit.add(pid)\n"
            "os.kill(child.pid, 9)\nos.write(1, b'%d' % (hit == {child.pid}))\n",
            str(number),
        )
    )  # fmt: skip
    assert await first(hunt) == b"on\n"
    for count in range(40):
        with anyio.fail_after(5):
            await one_shot.files.write(f"f{count}", bytes(100_000))
    await one_shot.files.write("stop", b"")
    assert (await finish(hunt)).stdout == b"1"


async def test_the_server_and_other_sandboxes_are_not_named(
    backend: NamespaceBackend, box: Sandbox
) -> None:
    """Every number that a process of the host may have: nobody is there."""
    probe = """
hits = []
for pid in PIDS:
    for act in (lambda: os.kill(pid, 0), lambda: os.getpgid(pid), lambda: os.stat(f"/proc/{pid}")):
        if attempt(act) not in ("ESRCH", "ENOENT"):
            hits.append(pid)
tell(hits)
"""
    async with backend.open(fresh()) as other:
        sleeper = await other.start(program("sleep", "20"))
        pids = [n for name in os.listdir("/proc") if name.isdigit() and (n := int(name)) > 40]
        text = f"PIDS = {pids!r}\n" + probe
        assert await inside(box, text) == []
        assert os.getpid() in await outside(text)
        await sleeper.signal(9)


async def test_nothing_survives_the_sandbox(backend: NamespaceBackend) -> None:
    """Double forks, sessions, ignored signals: the end of the sandbox is the end of all."""
    probe = """
for number in (1, 2, 3, 13, 15):
    signal.signal(number, signal.SIG_IGN)
for _ in range(2):
    if os.fork():
        time.sleep(0.2)
        tell(sorted(n for n in os.listdir("/proc") if n.isdigit()))
        os._exit(0)
    os.setsid()
os.execv("/bin/sleep", ["sleep", "31.4159"])
"""

    def alive() -> int:
        count = 0
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    said = Path(f"/proc/{name}/cmdline").read_bytes()
                except OSError:
                    continue
                count += said == b"sleep\x0031.4159\0"
        return count

    async with backend.open(fresh()) as box:
        await attack(box, probe)
        assert await anyio.to_thread.run_sync(alive) == 1

    async def gone() -> bool:
        return await anyio.to_thread.run_sync(alive) == 0

    assert await eventually(gone)
