"""Cases: what was acknowledged is there after `kill -9`, and after an ordinary end."""

import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from atoll.core.states import State
from atoll.core.store import Store
from atoll.testing.store.cases import StoreCases
from atoll.testing.store.samples import (
    TENANT,
    claim,
    ended,
    event,
    key,
    post_mortem,
    process,
    sandbox,
    snapshot,
)
from atoll.testing.store.writer import BATCH

ACKNOWLEDGED_AT_LEAST = (40, 97, 211)
STEPS_APART = 1_000_000


async def _kill_a_writer(opener: str, address: str, first: int, lines: int) -> list[list[str]]:
    """Run the writer, kill it after so many lines; all the lines that it wrote whole."""
    code = (
        f"import sys; sys.path[:] = {sys.path!r}\n"
        "from atoll.testing.store.writer import main\n"
        f"main({opener!r}, {address!r}, {first})"
    )
    said = ""
    async with await anyio.open_process([sys.executable, "-c", code], stderr=None) as writer:
        assert writer.stdout is not None
        killed = False
        async for text in TextReceiveStream(writer.stdout):
            said += text
            if not killed and said.count("\n") >= lines:
                writer.send_signal(signal.SIGKILL)
                killed = True
        assert await writer.wait() == -signal.SIGKILL
    return [line.split() for line in said.split("\n")[:-1]]


def _checks(store: Store) -> dict[str, Callable[[int], Awaitable[Any]]]:
    """For each step of a round, a question whose answer is true when the step is stored."""

    def at(n: int) -> str:
        return sandbox(n).id

    async def claimed(n: int) -> bool:
        return await store.claim(claim(f"k{n}")) == claim(f"k{n}", result=at(n))

    async def added(n: int) -> bool:
        return await store.get_sandbox(TENANT, at(n)) is not None

    async def saved(n: int) -> bool:
        wanted = replace(sandbox(n, name=f"n{n}"), state=State.RUNNING, version=2)
        return await store.get_sandbox(TENANT, f"n{n}") == wanted

    async def started(n: int) -> bool:
        return await store.get_process(at(n), 1) is not None

    async def exited(n: int) -> bool:
        return await store.get_process(at(n), 1) == ended(process(at(n), 1))

    async def frozen(n: int) -> bool:
        return await store.get_snapshot(TENANT, snapshot(n).id) == snapshot(n)

    async def keyed(n: int) -> bool:
        return await store.find_key(key(n).digest) == key(n)

    async def buried(n: int) -> bool:
        return await store.get_post_mortem(TENANT, at(n)) == post_mortem(at(n))

    return {
        "claim": claimed,
        "sandbox": added,
        "saved": saved,
        "process": started,
        "exit": exited,
        "snapshot": frozen,
        "key": keyed,
        "post_mortem": buried,
    }


class DurabilityCases(StoreCases):
    """What survives."""

    @pytest.mark.slow
    async def test_what_was_acknowledged_survives_kill_9(self, address: str) -> None:
        for place, lines in enumerate(ACKNOWLEDGED_AT_LEAST):
            written = await _kill_a_writer(self.opener, address, place * STEPS_APART, lines)
            assert len(written) >= lines
            async with self.open(address) as store:
                events = Counter(e.action for e in await store.list_events(limit=10_000))
                checks = _checks(store)
                for number, step in written:
                    if step == "events":
                        assert events[number] == BATCH
                    else:
                        assert await checks[step](int(number)), (number, step)
                assert set(events.values()) <= {BATCH}, "half of a batch was stored"
                last = (await store.list_events(limit=10_000))[-1].seq
                for new in await store.add_events([event(f"after {place}")] * BATCH):
                    assert new.seq > last

    async def test_it_is_all_there_when_opened_again(self, address: str) -> None:
        async with self.open(address) as store:
            await store.add_sandbox(sandbox(1, name="n"))
            await store.add_events([event()])
        async with self.open(address) as store:
            assert await store.get_sandbox(TENANT, "n") == sandbox(1, name="n")
            assert len(await store.list_events()) == 1

    async def test_two_openings_see_each_others_writes(self, address: str) -> None:
        async with self.open(address) as one, self.open(address) as two:
            await one.add_sandbox(sandbox(1))
            assert await two.get_sandbox(TENANT, sandbox(1).id) == sandbox(1)
            async with anyio.create_task_group() as group:
                for n in range(20):
                    group.start_soon((one, two)[n % 2].add_events, [event(f"{n}")])
            seen = [e.action for e in await one.list_events()]
            assert sorted(seen, key=int) == [str(n) for n in range(20)]

    async def test_many_first_openings_at_the_same_time(self, address: str) -> None:
        async def open_and_write(n: int) -> None:
            async with self.open(address) as store:
                await store.add_sandbox(sandbox(n))

        async with anyio.create_task_group() as group:
            for n in range(5):
                group.start_soon(open_and_write, n)
        async with self.open(address) as store:
            assert await store.count_sandboxes(TENANT) == 5
