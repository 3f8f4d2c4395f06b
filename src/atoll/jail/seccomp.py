"""The system calls a guest may make: an allow-list, compiled once by libseccomp.

It comes in two parts. The long one is loaded by the zygote and inherited: loading it costs a third
of a millisecond. The short one takes away what only the way into a sandbox needs, and is loaded by
each program before its first instruction.

What is not named is refused: `ENOSYS` for calls that programs probe for and do without (clone3,
io_uring, openat2's newer kin), `EPERM` for those that only a host needs. The list follows what
container engines allow by default, less everything that needs a capability, since a guest has none.
"""

import functools
import tempfile
from typing import Any

from atoll.core.errors import Unavailable

ALLOWED = """
accept accept4 access alarm arch_prctl bind brk cachestat capget capset chdir chmod chown
clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup
dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64
fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr
flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait
futex_waitv futex_wake futimesat get_mempolicy get_robust_list get_thread_area getcpu getcwd
getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid
getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname
getsockopt gettid gettimeofday getuid getxattr inotify_add_watch inotify_init inotify_init1
inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit ioprio_get
kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat
listen listxattr llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack mbind
membarrier memfd_create mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mprotect
mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget
msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat
openat2 pause pidfd_getfd pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free
pkey_mprotect poll ppoll pread64 preadv preadv2 process_mrelease process_vm_readv
process_vm_writev pselect6 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat
readv recvfrom recvmmsg recvmsg remap_file_pages removexattr rename renameat renameat2
restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select
semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_mempolicy set_robust_list
set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority
setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr shmat shmctl
shmdt shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statx symlink
symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times
tkill truncate umask uname unlink unlinkat utime utimensat utimes vfork wait4 waitid write writev
""".split()

# Allowed by the first part, refused by the second.
JOINING = ("setns", "unshare", "mount", "mount_setattr")

# Probed for by libraries that fall back when told "no such call".
ABSENT = "clone3 userfaultfd memfd_secret lookup_dcookie vmsplice".split()

# One numbering for all machines since Linux 5.1; libseccomp may be older than the kernel.
_UNIFIED = {
    "mount_setattr": 442, "cachestat": 451, "fchmodat2": 452, "map_shadow_stack": 453,
    "futex_wake": 454, "futex_wait": 455, "futex_requeue": 456, "mseal": 462,
}  # fmt: skip
_RECENT = range(424, 512)

_NAMESPACE_FLAGS = 0x7E020000  # every CLONE_NEW… that clone takes
_STREAM_DATAGRAM_SEQPACKET = (1, 2, 5)
_SOCK_TYPE = 0xF
_UNIX_INET_INET6 = (1, 2, 10)
_AF_NETLINK, _NETLINK_ROUTE = 16, 0
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PR_SET_DUMPABLE = 4
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_EPERM, _ENOSYS = 1, 38


@functools.cache
def program(*, memory_bounded: bool = True) -> bytes:
    """The first part, as `struct sock_filter[]`. Raises `Unavailable` without libseccomp.

    Where no cgroup bounds memory there is no memfd_create either: what is written to a memfd
    and not mapped is in no process's account.
    """
    try:
        import pyseccomp as sc  # noqa: PLC0415 (loads a shared library)
    except (ImportError, OSError, RuntimeError) as error:
        raise Unavailable(
            "libseccomp is missing, and no sandbox is opened without a system call filter; "
            "install the package libseccomp2."
        ) from error
    build: Any = sc.SyscallFilter(defaction=sc.ERRNO(_EPERM))
    absent = sc.ERRNO(_ENOSYS)
    names = [name for name in ALLOWED if memory_bounded or name != "memfd_create"]
    names += ["prctl", *JOINING]
    known = {number for name in names if (number := _number(sc, name)) is not None}
    for number in sorted(known):
        build.add_rule(sc.ALLOW, number)
    missing = ABSENT if memory_bounded else [*ABSENT, "memfd_create"]
    for number in {_number(sc, name) for name in missing} | set(_RECENT) - known:
        if number is not None:
            build.add_rule(absent, number)
    allow = functools.partial(build.add_rule, sc.ALLOW)
    allow("clone", sc.Arg(0, sc.MASKED_EQ, _NAMESPACE_FLAGS, 0))
    for family in _UNIX_INET_INET6:
        for kind in _STREAM_DATAGRAM_SEQPACKET:
            allow("socket", sc.Arg(0, sc.EQ, family), sc.Arg(1, sc.MASKED_EQ, _SOCK_TYPE, kind))
    allow("socket", sc.Arg(0, sc.EQ, _AF_NETLINK), sc.Arg(2, sc.EQ, _NETLINK_ROUTE))
    # One's own limits only: pid 1 has the guest's user, and must not lose its descriptors or time.
    allow("prlimit64", sc.Arg(0, sc.MASKED_EQ, 0xFFFFFFFF, 0))
    for value in _PERSONALITIES:
        allow("personality", sc.Arg(0, sc.EQ, value))
    for mask, value in _all_but(_TIOCSTI, _TIOCLINUX):
        allow("ioctl", sc.Arg(1, sc.MASKED_EQ, mask, value))
    return _exported(build)


@functools.cache
def final() -> bytes:
    """The second part: no way into namespaces, nor out of sight.

    A program that is not dumpable could not be asked any more which start it descends from. Call
    `program` first, which raises `Unavailable` without libseccomp.
    """
    import pyseccomp as sc  # noqa: PLC0415 (loads a shared library)

    build: Any = sc.SyscallFilter(defaction=sc.ALLOW)
    for name in JOINING:
        build.add_rule(sc.ERRNO(_EPERM), _number(sc, name))
    hidden = sc.Arg(0, sc.MASKED_EQ, 0xFFFFFFFF, _PR_SET_DUMPABLE)
    build.add_rule(sc.ERRNO(_EPERM), "prctl", hidden)
    return _exported(build)


# What a worker that runs alone, without namespaces around it, has no use for: whatever reaches
# other processes, starts programs, or holds memory that nobody counts; and what changes a file by
# its path where Landlock does not look: mode, owner, attributes, and length on Linux before 6.2.
_REACHING = """
accept accept4 bind connect execve execveat fork getpeername getsockname io_cancel io_destroy
chmod chown fchmodat fchmodat2 fchownat inotify_add_watch lchown lremovexattr lsetxattr removexattr
setxattr truncate utime utimes
io_getevents io_pgetevents io_setup io_submit kill listen mknod mknodat mq_getsetattr mq_notify
mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd name_to_handle_at
pidfd_getfd pidfd_open pidfd_send_signal process_mrelease process_vm_readv process_vm_writev ptrace
recvmmsg rt_sigqueueinfo rt_tgsigqueueinfo sched_setaffinity sched_setattr sched_setparam
sched_setscheduler semctl semget semop semtimedop sendmmsg sendmsg sendto setfsgid setfsuid setgid
setgroups setpgid setpriority setregid setresgid setresuid setreuid setsid setuid shmat shmctl
shmdt shmget socket socketpair tgkill tkill vfork
""".split()
_CLONE_THREAD = 0x00010000
_PR_SET_PDEATHSIG = 1


@functools.cache
def alone() -> bytes:
    """The second part for such a worker: it may have threads, and nobody else.

    Not even itself gets a signal from it, since a filter cannot tell whose number that is.
    """
    import pyseccomp as sc  # noqa: PLC0415 (loads a shared library)

    build: Any = sc.SyscallFilter(defaction=sc.ALLOW)
    refuse = functools.partial(build.add_rule, sc.ERRNO(_EPERM))
    for name in (*_REACHING, *JOINING):
        if (number := _number(sc, name)) is not None:
            refuse(number)
    refuse("clone", sc.Arg(0, sc.MASKED_EQ, _CLONE_THREAD, 0))
    for option in (_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE):
        refuse("prctl", sc.Arg(0, sc.MASKED_EQ, 0xFFFFFFFF, option))
    return _exported(build)


def _exported(build: Any) -> bytes:
    with tempfile.TemporaryFile() as file:
        build.export_bpf(file)
        file.seek(0)
        return file.read()


def _number(sc: Any, name: str) -> int | None:
    try:
        number = int(sc.resolve_syscall(sc.Arch.NATIVE, name))
    except OSError:
        number = -1
    return number if number >= 0 else _UNIFIED.get(name)


def _all_but(first: int, second: int) -> list[tuple[int, int]]:
    """(mask, value) pairs that together match every 32-bit number but those two.

    The kernel ignores the upper half of an ioctl's number while a filter compares 64 bits, so
    "not equal" would let the number through with a bit set in that half (CVE-2019-10063).
    """
    differ = first ^ second
    rules = [(1 << bit, ~first & 1 << bit) for bit in range(32) if not differ >> bit & 1]
    low = (differ & -differ).bit_length() - 1
    for pattern in range(1 << (differ >> low).bit_length()):
        value = pattern << low
        if value & ~differ == 0 and value not in (first & differ, second & differ):
            rules.append((differ, value))
    return rules
