"""Running `ip` and `nft`, here and in the network namespace of another process.

Both read what to do from standard input, and `nft` does all of it or nothing.
"""

import json
import os
import select
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio

from atoll.core.errors import BackendFault

TOOLS = ("ip", "nft", "nsenter")
DEADLINE_S = 20.0
_SAID_MAX = 500
_PLACES = "/usr/sbin:/usr/bin:/sbin:/bin"


def lacking() -> list[str]:
    """What of them this host does not have, in the system's own directories."""
    return [name for name in TOOLS if shutil.which(name, path=_PLACES) is None]


def namespace_of(pidfd: int) -> int:
    """The network namespace of a process; the caller closes it. `ProcessLookupError`."""
    info = Path(f"/proc/self/fdinfo/{pidfd}").read_text(encoding="ascii")
    pid = next(line.split()[1] for line in info.splitlines() if line.startswith("Pid:"))
    try:
        found = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if poll.poll(0):  # it has ended, and the number may be another's
        os.close(found)
        raise ProcessLookupError(pid)
    return found


async def ip(lines: Sequence[str], *, within: int | None = None, other: int | None = None) -> None:
    """Do these with `ip -batch`, the first that fails ends it; `{other}` names that namespace."""
    text = "\n".join(lines).format(other=f"/proc/self/fd/{other}") + "\n"
    await _run(["ip", "-batch", "-"], text, within, other)


async def nft(text: str, *, within: int | None = None) -> None:
    """Do all of that, or nothing."""
    await _run(["nft", "-f", "-"], text, within)


async def counted(table: str, *, within: int | None = None) -> dict[str, int]:
    """Packets that the counters of each chain's rules have seen; chains with rules only."""
    said = await _run(["nft", "-j", "list", *table.split()], "", within)
    found: dict[str, int] = {}
    for each in json.loads(said)["nftables"]:
        if "rule" not in each:
            continue
        parts: list[dict[str, Any]] = each["rule"]["expr"]
        counters = [part["counter"] for part in parts if "counter" in part]
        packets = sum(int(one["packets"]) for one in counters if one is not None)
        chain = each["rule"]["chain"]
        found[chain] = found.get(chain, 0) + packets
    return found


async def _run(argv: Sequence[str], text: str, within: int | None, other: int | None = None) -> str:
    command = [*argv]
    if within is not None:
        command = ["nsenter", f"--net=/proc/self/fd/{within}", *argv]
    passed = [fd for fd in (within, other) if fd is not None]
    try:
        with anyio.fail_after(DEADLINE_S):
            done = await anyio.run_process(
                command, input=text.encode(), check=False, pass_fds=passed, env={"PATH": _PLACES}
            )
    except TimeoutError:
        raise BackendFault(f"{argv[0]} took more than {DEADLINE_S:g} s.") from None
    except FileNotFoundError:
        raise BackendFault(f"A network needs the programs {', '.join(TOOLS)}.") from None
    except OSError as error:
        raise BackendFault(f"{argv[0]} could not be started: {error.strerror}.") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[:_SAID_MAX]
        raise BackendFault(f"{' '.join(argv)} failed: {said}")
    return done.stdout.decode(errors="replace")
