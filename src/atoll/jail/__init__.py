"""The namespace machinery: system calls, mounts, cgroups, seccomp and the warm-fork zygote.

Two halves live here. `launch`, `zygote`, `child`, `rootfs`, `mounts` and `syscalls` run on the far
side, in a bare `python3` with the standard library only; they are shipped there by `bundle`.
`spawn`, `cgroups`, `seccomp` and `bundle` run in the server.
"""
