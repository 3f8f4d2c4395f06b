"""The filter, read instruction by instruction, and loaded in a child."""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.jail import seccomp, syscalls

ALLOW, ERRNO = 0x7FFF0000, 0x00050000
ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ARCH = ARCHES.get(platform.machine(), 0)
I386 = 0x40000003
X32_BIT = 0x40000000
WORDS64 = st.integers(0, 2**64 - 1)

pytestmark = pytest.mark.skipif(not ARCH, reason="an architecture without a table here")


def number(name: str) -> int:
    import pyseccomp as sc

    found = seccomp._number(sc, name)
    assert found is not None, name
    return found


def verdict(nr: int, *args: int, arch: int = ARCH, program: bytes | None = None) -> int:
    """What the kernel would do: the stricter of what the filter's two parts say."""
    first = judged(seccomp.program() if program is None else program, nr, *args, arch=arch)
    return min(first, judged(seccomp.final(), nr, *args, arch=arch))


def judged(program: bytes, nr: int, *args: int, arch: int) -> int:
    """A filter's return value, by the kernel's rules for classic BPF."""
    code = list(struct.iter_unpack("HBBI", program))
    data = struct.pack("IIQ6Q", nr, arch, 0, *(*args, 0, 0, 0, 0, 0, 0)[:6])
    held, at = 0, 0
    jumps: dict[int, Callable[[int], bool]] = {
        0x15: lambda k: held == k,
        0x25: lambda k: held > k,
        0x35: lambda k: held >= k,
        0x45: lambda k: bool(held & k),
    }
    while True:
        op, yes, no, k = code[at]
        at += 1
        if op == 0x06:
            return int(k)
        if op == 0x20:
            (held,) = struct.unpack_from("I", data, k)
        elif op == 0x54:
            held &= k
        elif op == 0x05:
            at += k
        else:
            at += yes if jumps[op](k) else no


def allowed(name: str, *args: int) -> bool:
    return verdict(number(name), *args) == ALLOW


# every number but two
@given(
    value=st.integers(0, 2**32 - 1),
    one=st.integers(0, 2**32 - 1),
    differ=st.integers(1, 255),
    shift=st.integers(0, 24),
)
def test_all_but_two(value: int, one: int, differ: int, shift: int) -> None:
    two = one ^ differ << shift
    rules = seccomp._all_but(one, two)
    for word, wanted in ((value, value not in (one, two)), (one, False), (two, False)):
        assert any(word & mask == match for mask, match in rules) is wanted


@given(bit=st.integers(0, 31))
def test_all_but_two_neighbours(bit: int) -> None:
    first, second = seccomp._TIOCSTI, seccomp._TIOCLINUX
    rules = seccomp._all_but(first, second)
    for one in (first, second):
        near = one ^ 1 << bit
        matched = any(near & mask == match for mask, match in rules)
        assert matched is (near not in (first, second))


@given(request=WORDS64)
def test_ioctl_in_the_filter(request: int) -> None:
    low = request & 0xFFFFFFFF
    assert allowed("ioctl", 0, request) is (low not in (seccomp._TIOCSTI, seccomp._TIOCLINUX))


@given(high=st.integers(0, 2**32 - 1))
def test_the_upper_half_of_an_ioctl_hides_nothing(high: int) -> None:
    for one in (seccomp._TIOCSTI, seccomp._TIOCLINUX):
        assert not allowed("ioctl", 0, one | high << 32)


# by name
def test_what_is_listed_is_allowed() -> None:
    import pyseccomp as sc

    for name in seccomp.ALLOWED:
        found = seccomp._number(sc, name)
        if found is not None:
            assert verdict(found) == ALLOW, name


def test_what_is_absent_is_not_there() -> None:
    import pyseccomp as sc

    for name in seccomp.ABSENT:
        found = seccomp._number(sc, name)
        if found is not None:
            assert verdict(found) == ERRNO | errno.ENOSYS, name


FORBIDDEN = """
acct add_key adjtimex bpf chroot clock_adjtime clock_settime delete_module fanotify_init
finit_module init_module kcmp kexec_load keyctl mount move_pages nfsservctl open_by_handle_at
perf_event_open pivot_root quotactl reboot request_key setdomainname sethostname setns settimeofday
swapoff swapon syslog umount2 unshare vhangup
""".split()


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_a_host_needs_is_forbidden(name: str) -> None:
    assert verdict(number(name)) == ERRNO | errno.EPERM
    assert name not in seccomp.ALLOWED


# Allowed or not by what they are asked to do, which other tests look at.
BY_ARGUMENT = ("clone", "ioctl", "memfd_create", "personality", "prctl", "prlimit64", "socket")


@given(nr=st.integers(0, 600) | st.integers(0, 2**32 - 1))
def test_no_number_is_let_through_unlisted(nr: int) -> None:
    import pyseccomp as sc

    if verdict(nr) == ALLOW:
        listed = {*seccomp.ALLOWED, *BY_ARGUMENT}
        assert nr in {seccomp._number(sc, name) for name in listed}


@given(nr=st.integers(0, 600))
def test_other_architectures_are_shut(nr: int) -> None:
    assert verdict(nr, arch=I386) != ALLOW
    assert verdict(nr, arch=0) != ALLOW
    if platform.machine() == "x86_64":
        assert verdict(nr | X32_BIT) != ALLOW


@given(flags=WORDS64)
def test_clone_makes_no_namespace(flags: int) -> None:
    assert allowed("clone", flags) is not bool(flags & 0x7E020000)


@given(family=st.integers(0, 50), kind=st.integers(0, 15), options=st.sampled_from([0, 0x80800]))
def test_sockets(family: int, kind: int, options: int) -> None:
    plain = family in (1, 2, 10) and kind in (1, 2, 5)
    assert allowed("socket", family, kind | options, 0) is (plain or family == 16)
    assert allowed("socket", family, kind | options, 9) is plain


@given(value=st.integers(0, 2**32 - 1))
def test_personality(value: int) -> None:
    assert allowed("personality", value) is (value in seccomp._PERSONALITIES)


# in the kernel
def loaded(*calls: tuple[str, tuple[int, ...]]) -> list[int]:
    """The errno of each call (0 for none), in a child under the filter."""
    numbers = [(number(name), args) for name, args in calls]
    program, final = seccomp.program(), seccomp.final()
    libc = ctypes.CDLL(None, use_errno=True)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            syscalls.install_filter(program)
            syscalls.install_filter(final)
            for nr, args in numbers:
                ctypes.set_errno(0)
                done = libc.syscall(ctypes.c_long(nr), *(ctypes.c_long(arg) for arg in args))
                os.write(writing, bytes([0 if done >= 0 else ctypes.get_errno()]))
        finally:
            os._exit(0)
    os.close(writing)
    _, status = os.waitpid(pid, 0)
    assert status == 0
    said = os.read(reading, 1000)
    os.close(reading)
    return list(said)


def test_the_kernel_takes_the_filter() -> None:
    assert loaded(
        ("getpid", ()),
        ("unshare", (0,)),
        ("keyctl", (0, -3, 0)),
        ("socket", (1, 1, 0)),
        ("socket", (17, 3, 0)),
        ("setns", (-1, 0)),
        ("close", (-1,)),
        ("personality", (0x40000,)),
        ("clone3", (0, 0)),
        ("ioctl", (0, seccomp._TIOCSTI | 1 << 32, 0)),
        ("mount", (0, 0, 0, 0, 0)),
    ) == [
        0, errno.EPERM, errno.EPERM, 0, errno.EPERM, errno.EPERM, errno.EBADF, errno.EPERM,
        errno.ENOSYS, errno.EPERM, errno.EPERM,
    ]  # fmt: skip


def test_without_a_bound_on_memory_there_is_no_memfd() -> None:
    program = seccomp.program(memory_bounded=False)
    assert verdict(number("memfd_create"), program=program) == ERRNO | errno.ENOSYS
    assert allowed("memfd_create")
