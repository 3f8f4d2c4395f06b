"""Mixed work with many clients for many minutes; then nothing may be left over, and nothing grown.

    .venv/bin/python scripts/soak.py --minutes 30 --clients 50

Starts a server of its own. Ends with a line that says what was done, and exit code 1 when anything
failed, leaked or grew.
"""

import argparse
import asyncio
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from atoll.client import AsyncAtoll, Code, Finished, Output, Result
from tests.e2e import leftovers
from tests.e2e.server import Server, serving

GROWTH_MAX = 1.25
# Works on the server at that address until that time, counting what it does.
Client = Callable[[str, float, int, Counter[str]], Coroutine[None, None, None]]


def resident(pid: int) -> int:
    """Bytes of memory that the process holds."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def one_shot(atoll: AsyncAtoll, chance: random.Random) -> None:
    """A fresh sandbox for a line of Python."""
    number = chance.randrange(10**9)
    result = await atoll.execute("python", f"print({number})")
    assert result.stdout == f"{number}\n", result


async def command(atoll: AsyncAtoll, _chance: random.Random) -> None:
    """A fresh sandbox for a shell line."""
    result = await atoll.run("echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 3), result


async def failing(atoll: AsyncAtoll, chance: random.Random) -> None:
    """A program that runs into a limit, or dies."""
    code, reason = chance.choice(
        [("while True: pass", "wall_time"), ("x = bytearray(10**9)", "memory"),
         ("while True: print('y' * 10**6)", "output"), ("import os; os.abort()", "signal")]
    )  # fmt: skip
    result = await atoll.execute("python", code, timeout_s=1)
    assert result.reason in {reason, "wall_time"}, result


async def stream(atoll: AsyncAtoll, _chance: random.Random) -> None:
    """Output as it is printed."""
    code = "import time\nfor i in range(3):\n    print(i, flush=True)\n    time.sleep(0.05)"
    events = [event async for event in atoll.execute_stream("python", code)]
    assert isinstance(events[-1], Finished), events


async def kept(atoll: AsyncAtoll, chance: random.Random) -> None:
    """The life of a sandbox that keeps its files."""
    box = await atoll.sandboxes.create()
    try:
        content = os.urandom(chance.randrange(1, 100_000))
        await box.files.write("dir/file", content)
        assert (await box.exec("wc -c < dir/file")).stdout.strip() == str(len(content))
        process = await box.processes.start("sleep 0.1; echo done")
        assert (await process.wait()).exit_code == 0
        if chance.random() < 0.3:
            await box.stop()
        assert await box.files.read("dir/file") == content
        if chance.random() < 0.3:
            copy = await box.fork(force=True)
            assert await copy.files.read("dir/file") == content
            await copy.destroy()
    finally:
        await box.destroy()


async def many(atoll: AsyncAtoll, _chance: random.Random) -> None:
    """A batch of which one is wrong."""
    requests = [Code("python", f"print({n})") for n in range(4)] + [Code("no-such", "x")]
    results = await atoll.batch(requests)
    said = [each.stdout for each in results if isinstance(each, Result)]
    assert said == [f"{n}\n" for n in range(4)], results


async def impatient(atoll: AsyncAtoll, _chance: random.Random) -> None:
    """A client that leaves in the middle of a stream."""
    async with aclosing(atoll.execute_stream("sh", "echo up; sleep 60")) as events:
        async for event in events:
            if isinstance(event, Output):
                return


async def frozen(atoll: AsyncAtoll, _chance: random.Random) -> None:
    """A snapshot, and a second sandbox from it, while processes still run in the first."""
    box = await atoll.sandboxes.create(labels={"soak": "frozen"})
    try:
        await box.files.write("file", b"first")
        await box.processes.start("sleep 60")
        snapshot = await box.snapshot(force=True)
        try:
            await box.files.write("file", b"second")
            copy = await atoll.sandboxes.create(base=snapshot.id)
            assert await copy.files.read("file") == b"first"
            await copy.destroy()
        finally:
            await atoll.snapshots.drop(snapshot.id)
    finally:
        await box.destroy()


KINDS = (
    (one_shot, 55), (command, 15), (failing, 5), (stream, 8), (kept, 8), (many, 3),
    (impatient, 3), (frozen, 3),
)  # fmt: skip


async def client(url: str, until: float, seed: int, counts: Counter[str]) -> None:
    """One client: job after job until the time is over."""
    chance = random.Random(seed)
    jobs, weights = zip(*KINDS, strict=True)
    async with AsyncAtoll(url) as atoll:
        while time.monotonic() < until:
            job = chance.choices(jobs, weights)[0]
            try:
                await job(atoll, chance)
                counts[job.__name__] += 1
            except Exception as error:  # noqa: BLE001 (each failure is counted and shown)
                counts["errors"] += 1
                if counts["errors"] <= 20:
                    print(f"{job.__name__}: {type(error).__name__}: {str(error)[:300]}", flush=True)


async def work(
    server: Server, one: Client, minutes: float, clients: int, counts: Counter[str]
) -> float:
    """Run it all; the growth of the server's memory, low marks of the last third by the first.

    Floods of output make it rise for a moment; what leaks shows in the low marks.
    """
    began = time.monotonic()
    until = began + minutes * 60
    samples: list[int] = []
    async with asyncio.TaskGroup() as tasks:
        for seed in range(clients):
            tasks.create_task(one(server.url, until, seed, counts))
        while time.monotonic() < until:
            await asyncio.sleep(min(30.0, minutes * 6))
            held = resident(server.process.pid)
            samples.append(held)
            print(f"{time.monotonic() - began:6.0f} s  {sum(counts.values())} jobs, "
                  f"{counts['errors']} errors, {held / 2**20:.0f} MiB", flush=True)  # fmt: skip
    third = max(1, len(samples) // 3)
    return min(samples[-third:]) / min(samples[:third])


def soak(one: Client, about: str, *flags: str, minutes: float, clients: int) -> int:
    """Have clients work on a server with those flags; exit code 0 when all is well."""
    options = argparse.ArgumentParser(description=about)
    options.add_argument("--minutes", type=float, default=minutes)
    options.add_argument("--clients", type=int, default=clients)
    chosen = options.parse_args()
    counts: Counter[str] = Counter()
    mounts = leftovers.mounts()
    data = Path(tempfile.mkdtemp(prefix="atoll-soak.")) / "data"
    data.parent.chmod(0o755)
    with serving(data, *flags) as server:
        asyncio.run(work(server, one, 0.1, 5, Counter()))
        before = leftovers.Leftovers.of(server.process.pid)
        groups = leftovers.groups(data)
        zygotes = leftovers.descendants(server.process.pid)
        growth = asyncio.run(work(server, one, chosen.minutes, chosen.clients, counts))
        before.wait_for_no_more_than(server.process.pid)
        leftovers.wait_for_groups(data, groups)
        after = leftovers.Leftovers.of(server.process.pid)
        pids = leftovers.descendants(server.process.pid)
        zygotes &= pids
        held = sum(resident(pid) for pid in zygotes)
        code = server.stop()
    leftovers.check_ended(data, pids, mounts)
    shutil.rmtree(data.parent)
    print(f"before {before}\nafter  {after}\n"
          f"{len(zygotes)} processes lived all through, {held / 2**20:.0f} MiB")  # fmt: skip
    well = counts["errors"] == 0 and growth <= GROWTH_MAX and code == 0
    print(f"{dict(counts)}; memory x {growth:.2f}; server ended with {code}: "
          f"{'well' if well else 'NOT WELL'}")  # fmt: skip
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(soak(client, __doc__ or "", minutes=30, clients=50))
