"""Large buffers go back to the system, and collections leave out what was there at the start."""

import subprocess
import sys

import pytest

BUFFERS = """
import ctypes, gc, os, sys, threading
from atoll.http import memory

if sys.argv[1] == "given back":
    memory.give_back()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def flood():
    held = [libc.malloc(8 << 20) for _ in range(4)]
    for one in held:
        libc.memset(one, 1, 8 << 20)
    keep = libc.malloc(4 << 20)  # what keeps a heap from shrinking
    libc.memset(keep, 1, 4 << 20)
    for one in held:
        libc.free(one)

before = resident()
for _ in range(3):
    flood()
print((resident() - before) >> 20)
"""


def grown(how: str) -> int:
    """MiB that stay after three floods of 32 MiB, of which 12 MiB are still in use."""
    argv = [sys.executable, "-c", BUFFERS, how]
    return int(subprocess.run(argv, check=True, capture_output=True, timeout=60).stdout)


def test_large_buffers_are_given_back() -> None:
    kept = grown("as it is")
    if kept < 24:
        pytest.skip("this C library gives them back by itself")
    assert grown("given back") < 24


def test_what_exists_is_left_out_of_collections() -> None:
    code = "import gc\nfrom atoll.http import memory\nmemory.settle()\nprint(gc.get_freeze_count())"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)
    assert int(said.stdout) > 1000
