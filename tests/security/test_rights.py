"""Gaining rights: namespaces, mounts, set-user-id programs, devices, ids, limits."""

import pytest

from atoll.core.ports import Sandbox
from tests.security.probe import REFUSED, USERNS, inside, outside

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

NEW = {
    "user": 0x10000000, "mount": 0x00020000, "pid": 0x20000000, "net": 0x40000000,
    "ipc": 0x08000000, "uts": 0x04000000, "cgroup": 0x02000000,
}  # fmt: skip
UNSHARE = "tell(call({unshare}, %d))"
CLONE = """
def cloned(flags):
    done = libc.syscall(ctypes.c_long({clone}), ctypes.c_ulong(flags | 17), 0, 0, 0, 0)
    if done == 0:
        os._exit(7)
    if done < 0:
        return errno.errorcode[ctypes.get_errno()]
    return os.waitstatus_to_exitcode(os.waitpid(done, 0)[1])
tell([cloned(0), cloned(%d)])
"""
CLONE3 = """
args = struct.pack("8Q", %d, 0, 0, 0, 17, 0, 0, 0)
pid = libc.syscall(ctypes.c_long({clone3}), args, ctypes.c_size_t(64))
if pid == 0:
    os._exit(7)
tell(errno.errorcode[ctypes.get_errno()] if pid < 0 else "ok")
"""


@pytest.mark.parametrize("kind", NEW)
async def test_no_new_namespace_by_unshare(one_shot: Sandbox, kind: str) -> None:
    flags = NEW[kind] | NEW["user"]
    assert await inside(one_shot, UNSHARE % flags) == "EPERM"
    assert await inside(one_shot, UNSHARE % NEW[kind]) == "EPERM"
    assert await outside(UNSHARE % flags) == "ok"


@pytest.mark.parametrize("kind", NEW)
async def test_no_new_namespace_by_clone(one_shot: Sandbox, kind: str) -> None:
    """With rubbish in the upper half of the flags, too."""
    flags = NEW[kind] | NEW["user"]
    assert await inside(one_shot, CLONE % flags) == [7, "EPERM"]
    assert (await inside(one_shot, CLONE % (flags | 1 << 40)))[1] == "EPERM"
    assert await outside(CLONE % flags) == [7, 7]


async def test_no_new_namespace_by_clone3(one_shot: Sandbox) -> None:
    """A filter cannot look behind clone3's pointer, so the call is not there at all."""
    assert await inside(one_shot, CLONE3 % NEW["user"]) == "ENOSYS"
    assert await inside(one_shot, CLONE3 % 0) == "ENOSYS"
    assert await outside(CLONE3 % NEW["user"]) == "ok"


async def test_no_namespace_is_entered(box: Sandbox) -> None:
    probe = """
kinds = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
tell([call({setns}, os.open(f"/proc/self/ns/{kind}", os.O_RDONLY), 0) for kind in kinds])
"""
    assert set(await inside(box, probe)) == {"EPERM"}
    assert "ok" in await outside(probe, wrap=USERNS)


async def test_nothing_is_mounted(box: Sandbox) -> None:
    probe = """
tell([call({mount}, s, b"/tmp", k, f, 0) for s, k, f in (
    (b"none", b"tmpfs", 0), (b"/usr", None, 4096), (b"proc", b"proc", 0))])
"""
    assert set(await inside(box, probe)) == {"EPERM"}
    assert (await outside(probe, wrap=USERNS))[0] == "ok"


async def test_no_mask_or_bind_is_taken_away(box: Sandbox) -> None:
    probe = """
places = [l.split()[4] for l in text("/proc/self/mountinfo").splitlines()]
lines = text("/proc/self/mountinfo")
results = {call({umount2}, p.encode(), 2) for p in places}
tell([sorted(results), text("/proc/self/mountinfo") == lines])
"""
    assert await inside(box, probe) == [["EPERM"], True]
    mounted = 'call({mount}, b"none", b"/tmp", b"tmpfs", 0, 0)\n' + probe
    results, unchanged = await outside(mounted, wrap=USERNS)
    assert "ok" in results
    assert not unchanged


async def test_no_capability_is_held_or_regained(box: Sandbox) -> None:
    probe = """
status = dict(l.split(":\\t") for l in text("/proc/self/status").splitlines() if ":\\t" in l)
ids = [attempt(os.setresuid, 0, 0, 0), attempt(os.setresgid, 0, 0, 0), attempt(os.setgroups, [0])]
tell([[int(status[f"Cap{k}"], 16) for k in ("Inh", "Prm", "Eff", "Bnd", "Amb")],
      status["NoNewPrivs"], ids])
"""
    caps, no_new, ids = await inside(box, probe)
    assert caps == [0, 0, 0, 0, 0]
    assert no_new == "1"
    assert set(ids) <= {"EPERM", "EINVAL"}
    caps, _, ids = await outside(probe, wrap=USERNS)
    assert caps[2] != 0
    assert ids[0] == "ok"


async def test_a_set_user_id_program_is_an_ordinary_one(box: Sandbox) -> None:
    """One of the guest's own, and every one that /usr holds."""
    probe = """
import shutil, subprocess
shutil.copy("/usr/bin/id", "/tmp/id")
os.chmod("/tmp/id", 0o6755)
me = subprocess.run(["/tmp/id"], capture_output=True, text=True).stdout
flags = {l.split()[4]: l.split()[5].split(",") for l in text("/proc/self/mountinfo").splitlines()}
places = [p for p in flags if os.path.isdir(p)]
tell([me, os.stat("/tmp/id").st_mode & 0o6000, [p for p in places if "nosuid" not in flags[p]],
      [p for p in places if "nodev" not in flags[p]]])
"""
    who, mode, suid, devices = await inside(box, probe)
    assert who.startswith("uid=1000(user) gid=1000(user)")
    assert "euid=" not in who
    assert mode == 0o6000
    assert suid == []
    assert set(devices) <= {"/", "/dev/pts"}
    host = await outside("tell(text('/proc/self/mountinfo'))")
    assert any("nosuid" not in line.split()[5] for line in host.splitlines())


async def test_no_device_is_made(box: Sandbox) -> None:
    probe = """
import stat
tell([attempt(os.mknod, "/tmp/disk", stat.S_IFBLK | 0o666, os.makedev(8, 0)),
      attempt(os.mknod, "/tmp/mem", stat.S_IFCHR | 0o666, os.makedev(1, 1)),
      attempt(os.mknod, f"/tmp/pipe-{os.getpid()}", stat.S_IFIFO | 0o666)])
"""
    assert await inside(box, probe) == ["EPERM", "EPERM", "ok"]


async def test_only_harmless_devices_are_there(box: Sandbox) -> None:
    names = await inside(box, "tell(sorted(os.listdir('/dev')))")
    assert set(names) == {
        "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty",
        "urandom", "zero",
    }  # fmt: skip
    assert await inside(box, "tell(attempt(text, '/dev/zero')[:1] == chr(0))") is True
    for name in ("kmsg", "mem", "fuse", "kvm", "vsock", "net/tun", "loop-control", "mapper"):
        assert await inside(box, f"tell(attempt(text, '/dev/{name}'))") == "ENOENT"


async def test_limits_are_not_raised(box: Sandbox) -> None:
    probe = """
import resource as r
names = [n for n in dir(r) if n.startswith("RLIMIT_")]
def up(name):
    soft, hard = r.getrlimit(getattr(r, name))
    if hard == r.RLIM_INFINITY:
        return "unlimited"
    try:
        r.setrlimit(getattr(r, name), (hard, hard + 1))
    except (OSError, ValueError) as error:
        return "refused"
    return "raised"
r.setrlimit(r.RLIMIT_NOFILE, (20, r.getrlimit(r.RLIMIT_NOFILE)[1]))
lower = r.getrlimit(r.RLIMIT_NOFILE)[0]
r.setrlimit(r.RLIMIT_NOFILE, (30, r.getrlimit(r.RLIMIT_NOFILE)[1]))
within = [lower, r.getrlimit(r.RLIMIT_NOFILE)[0]]
tell([{n: up(n) for n in names}, *within])
"""
    found, *within = await inside(box, probe)
    assert "raised" not in found.values()
    for name in ("CORE", "CPU", "NOFILE", "FSIZE", "NPROC", "MEMLOCK", "MSGQUEUE"):
        assert found[f"RLIMIT_{name}"] == "refused", name
    assert within == [20, 30]


async def test_clock_and_names_are_not_changed(box: Sandbox) -> None:
    probe = """
before = [os.uname().nodename, socket.gethostname()]
done = [attempt(socket.sethostname, "owned"), attempt(time.clock_settime, 0, 0.0),
        attempt(put, "/proc/sys/kernel/hostname", "owned")]
tell([done, before == [os.uname().nodename, socket.gethostname()], time.time() > 1.7e9])
"""
    done, same, now = await inside(box, probe)
    assert done[0] in REFUSED
    assert done[1] in REFUSED
    assert done[2] in ("EROFS", "EACCES", "EPERM")
    assert (same, now) == (True, True)
    assert await outside("tell(attempt(socket.sethostname, 'reef'))", wrap=USERNS) == "ok"
