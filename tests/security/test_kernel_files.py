"""/proc, /sys, /etc, /usr and the cgroup files: what is read there, and what is changed."""

from pathlib import Path

import pytest

from atoll.core.ports import Sandbox
from atoll.testing.backend.running import program, run
from tests.security.probe import inside, outside

pytestmark = [pytest.mark.anyio, pytest.mark.needs("userns")]

MASKED = ("kcore", "keys", "kallsyms", "timer_list", "kpageflags", "vmallocinfo", "slabinfo")


@pytest.mark.parametrize("name", MASKED)
async def test_masked_files_are_empty(box: Sandbox, name: str) -> None:
    found = await inside(box, f"tell(attempt(text, '/proc/{name}'))")
    assert found in ("", "ENOENT", "EACCES", "EPERM")
    assert await inside(box, "tell(len(attempt(text, '/proc/meminfo')) > 100)") is True


async def test_sys_is_not_there(box: Sandbox) -> None:
    probe = "tell([attempt(os.listdir, '/sys'), os.path.exists('/sys/fs/cgroup')])"
    assert await inside(box, probe) == ["ENOENT", False]
    assert (await outside(probe))[0] == "ok"


WRITES = """
places = ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sysrq-trigger",
          "/proc/sys/kernel/ns_last_pid", "/proc/sys/vm/drop_caches",
          "/proc/sys/net/ipv4/ip_forward",
          "/proc/sys/user/max_user_namespaces", "/proc/sys/kernel/random/boot_id"]
tell([[p, attempt(os.open, p, os.O_WRONLY)] for p in places if os.path.exists(p)])
"""


async def test_settings_of_the_kernel_are_not_opened_for_writing(box: Sandbox) -> None:
    found = await inside(box, WRITES)
    assert len(found) >= 4
    assert {answer for _, answer in found} <= {"EROFS", "EACCES", "EPERM"}


@pytest.mark.needs("root")
async def test_settings_of_the_kernel_open_for_root_on_the_host() -> None:
    assert any(isinstance(answer, int) for _, answer in await outside(WRITES))


CHANGES = """
places = ["/usr/bin/x", "/usr/lib/python3/x", "/usr/local/x", "/dev/x", "/sys", "/proc/x",
          "/srv/x", "/mnt/x", "/media/x", "/boot", "/lib/x", "/bin/x"]
tell([[attempt(put, p) for p in places],
      [attempt(os.chmod, p, 0o777) for p in ("/usr", "/usr/bin/env", "/dev/null")],
      attempt(os.rename, "/usr", "/user"), attempt(os.unlink, "/usr/bin/env"),
      attempt(put, "/workspace/x"), attempt(put, "/tmp/x"), attempt(put, "/dev/null")])
"""
NO = {"EROFS", "EACCES", "EPERM", "ENOENT"}


async def test_a_fresh_sandbox_writes_only_where_it_may(one_shot: Sandbox) -> None:
    made, modes, moved, removed, *allowed = await inside(one_shot, CHANGES)
    assert set(made) <= NO
    assert set(modes) <= NO
    assert moved in NO | {"EBUSY"}
    assert removed in NO
    assert allowed == ["ok", "ok", "ok"]
    etc = "tell([attempt(put, f'/etc/{n}') for n in ('passwd', 'x', 'ld.so.cache', 'hosts')])"
    assert set(await inside(one_shot, etc)) <= NO


async def test_no_sandbox_changes_the_programs(box: Sandbox) -> None:
    """One that keeps its files may have an /etc of its own, but /usr is everybody's."""
    made, modes, moved, removed, *allowed = await inside(box, CHANGES)
    assert set(made[:3]) <= NO
    assert set(modes[:2]) <= NO
    assert moved in NO | {"EBUSY"}
    assert removed in NO
    assert allowed == ["ok", "ok", "ok"]
    assert not Path("/usr/bin/x").exists()
    assert oct(Path("/dev/null").stat().st_mode) == "0o20666"


async def test_what_etc_becomes_is_not_the_hosts(box: Sandbox) -> None:
    before = Path("/etc/passwd").read_bytes()
    await inside(box, "tell([attempt(put, '/etc/passwd'), attempt(put, '/etc/shadow')])")
    assert Path("/etc/passwd").read_bytes() == before


async def test_etc_holds_no_secret(box: Sandbox) -> None:
    probe = (
        "tell([attempt(text, f'/etc/{n}') for n in ('shadow', 'passwd', 'machine-id', 'fstab')])"
    )
    shadow, passwd, machine, mounts = await inside(box, probe)
    assert (shadow, machine, mounts) == ("ENOENT", "ENOENT", "ENOENT")
    assert passwd.count("\n") == 3
    assert (await outside(probe))[1].count("\n") > 3


async def test_no_cgroup_is_joined_or_changed(box: Sandbox) -> None:
    probe = """
found = [d for d, _, names in os.walk("/") if d.count("/") < 4
         and {"cgroup.procs", "tasks"} & set(names) and not d.startswith("/proc")]
tell([found, [l.split(":")[2] for l in text("/proc/self/cgroup").splitlines()]])
"""
    groups, names = await inside(box, probe)
    assert groups == []
    assert set(names) == {"/"}


async def test_no_core_is_dumped(box: Sandbox) -> None:
    probe = """
import resource
child = os.fork()
if child == 0:
    os.chdir("/tmp")
    os.abort()
_, status = os.waitpid(child, 0)
tell([os.WTERMSIG(status), os.WCOREDUMP(status), resource.getrlimit(resource.RLIMIT_CORE)])
"""
    assert await inside(box, probe) == [6, False, [0, 0]]
    assert (await run(box, program("sh", "-c", "ulimit -c unlimited"))).exit.code != 0
    assert (await outside("import resource; tell(resource.getrlimit(4)[1])")) != 0


ESCAPES = """
import itertools
roots = ["/..", "/../../..", "/proc/self/root/..", "/proc/1/root", "/proc/self/cwd/../..",
         "/proc/self/task/%d/root/../.." % os.getpid(), "/dev/fd/../../..",
         "/proc/thread-self/root"]
seen = {}
for root in roots:
    try:
        seen[root] = [os.stat(root).st_dev, os.stat(root).st_ino, os.path.exists(root + MARK)]
    except OSError as error:
        seen[root] = errno.errorcode[error.errno]
own = os.stat("/")
tell([[own.st_dev, own.st_ino, os.path.exists(MARK)], seen])
"""


async def test_no_way_up_leads_out(box: Sandbox, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    mark.write_text("the host's")
    mark.chmod(0o644)
    text = f"MARK = {str(mark)!r}\n" + ESCAPES
    own, seen = await inside(box, text)
    assert own[2] is False
    for place, found in seen.items():
        assert found in (own, "EACCES", "ENOENT", "EPERM", [*found[:2], False]), place
    _, there = await outside(text)
    assert there["/proc/self/root/.."][2] is True


async def test_chroot_does_not_lead_out(box: Sandbox) -> None:
    """The classic: chroot deeper, keep a descriptor above, climb."""
    probe = """
above = os.open("/", os.O_RDONLY)
first = attempt(os.chroot, "/usr")
os.fchdir(above)
for _ in range(40):
    os.chdir("..")
here, root = os.stat("."), os.stat("/") if first != "ok" else None
tell([first, root is not None and (here.st_dev, here.st_ino) == (root.st_dev, root.st_ino)])
"""
    assert await inside(box, probe) == ["EPERM", True]
    assert (await outside(probe, wrap=("unshare", "--user", "--map-root-user")))[0] == "ok"


async def test_no_file_is_opened_by_its_handle(box: Sandbox) -> None:
    probe = """
handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
mount_id = ctypes.c_int()
named = libc.name_to_handle_at(-100, b"/usr", handle, ctypes.byref(mount_id), 0)
fd = os.open("/", os.O_RDONLY)
tell([named, call({open_by_handle_at}, fd, handle, os.O_RDONLY)])
"""
    assert (await inside(box, probe))[1] == "EPERM"
