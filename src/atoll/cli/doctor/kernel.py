"""What the kernel offers beside namespaces: seccomp, Landlock, KVM."""

import ctypes
import fcntl
import os
import struct
from pathlib import Path

from atoll.cli.doctor import syscalls
from atoll.cli.doctor.child import ProbeFailed, in_child
from atoll.cli.doctor.finding import Finding, State

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_BPF_RET = 0x06
_SECCOMP_RET_ALLOW = 0x7FFF0000
_KVM_GET_API_VERSION = 0xAE00
_KVM_API = 12
_LANDLOCK_VERSION_FLAG = 1


def probe() -> list[Finding]:
    """Each is really tried."""
    return [_seccomp(), _landlock(), _kvm()]


def _seccomp() -> Finding:
    try:
        in_child(_install_filter)
    except ProbeFailed as failed:
        return Finding(
            "seccomp",
            State.NO,
            str(failed),
            "guests could make every system call, so the namespace backend refuses",
            "a kernel built with CONFIG_SECCOMP_FILTER",
        )
    return Finding(
        "seccomp",
        State.YES,
        "a filter can be installed",
        "guests are kept from mount, bpf, keyctl, ptrace of others, io_uring and the like",
    )


def _install_filter() -> str:
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1, "no_new_privs")
    allow_all = ctypes.create_string_buffer(
        struct.pack("=HBBI", _BPF_RET, 0, 0, _SECCOMP_RET_ALLOW)
    )
    program = ctypes.create_string_buffer(struct.pack("@HP", 1, ctypes.addressof(allow_all)))
    number = ctypes.CDLL(None, use_errno=True).prctl(
        ctypes.c_int(_PR_SET_SECCOMP),
        ctypes.c_ulong(_SECCOMP_MODE_FILTER),
        program,
    )
    if number != 0:
        raise ProbeFailed(f"installing a filter: {os.strerror(ctypes.get_errno())}")
    return "installed"


def _landlock() -> Finding:
    version = syscalls.syscall(
        syscalls.SYS_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION_FLAG
    )
    if version < 1:
        return Finding(
            "Landlock",
            State.NO,
            os.strerror(syscalls.errno()),
            "one layer less around files; mounts and seccomp still hold",
            "Linux 5.13 or newer, booted with lsm=landlock,…",
        )
    return Finding(
        "Landlock",
        State.YES,
        f"ABI {version}",
        "a second wall around files inside of the mount namespace",
    )


def _kvm() -> Finding:
    device = Path("/dev/kvm")
    consequence = "micro virtual machines run under software emulation, many times slower"
    if not device.exists():
        return Finding(
            "KVM",
            State.NO,
            "/dev/kvm is missing",
            consequence,
            "hardware virtualisation: bare metal, or nested virtualisation switched on",
        )
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as failed:
        return Finding(
            "KVM",
            State.NO,
            f"/dev/kvm cannot be opened by uid {os.geteuid()}: {failed.strerror}",
            consequence,
            "add the user to the group kvm",
        )
    try:
        version = fcntl.ioctl(descriptor, _KVM_GET_API_VERSION)
    except OSError as failed:
        return Finding("KVM", State.NO, str(failed), consequence, "a working /dev/kvm")
    finally:
        os.close(descriptor)
    state = State.YES if version == _KVM_API else State.PARTLY
    return Finding("KVM", state, f"API {version}", "micro virtual machines at full speed")
