"""A program that writes into a store and says what was acknowledged, until it is killed."""

import sys
from dataclasses import replace

import anyio

from atoll.core.states import State
from atoll.core.store import Store
from atoll.testing.store.cases import resolve
from atoll.testing.store.samples import (
    claim,
    ended,
    event,
    key,
    post_mortem,
    process,
    sandbox,
    snapshot,
)

WRITERS = 4
BATCH = 3


def main(opener: str, address: str, first: int) -> None:
    """Write rounds from number `first` on; print a round's number and step when it is stored."""
    anyio.run(_run, opener, address, first)


async def _run(opener: str, address: str, first: int) -> None:
    async with resolve(opener)(address) as store, anyio.create_task_group() as group:
        for writer in range(WRITERS):
            group.start_soon(_write, store, first + writer)


async def _write(store: Store, number: int) -> None:
    while True:
        await _round(store, number)
        number += WRITERS


async def _round(store: Store, n: int) -> None:
    record = sandbox(n, name=f"n{n}")
    await store.claim(claim(f"k{n}", result=record.id))
    _acknowledge(n, "claim")
    await store.add_sandbox(record)
    _acknowledge(n, "sandbox")
    await store.save_sandbox(replace(record, state=State.RUNNING))
    _acknowledge(n, "saved")
    await store.add_process(process(record.id, 1))
    _acknowledge(n, "process")
    await store.save_process(ended(process(record.id, 1)))
    _acknowledge(n, "exit")
    await store.add_events([event(f"{n}")] * BATCH)
    _acknowledge(n, "events")
    await store.add_snapshot(snapshot(n))
    _acknowledge(n, "snapshot")
    await store.add_key(key(n))
    _acknowledge(n, "key")
    await store.add_post_mortem(post_mortem(record.id))
    _acknowledge(n, "post_mortem")


def _acknowledge(n: int, step: str) -> None:
    sys.stdout.write(f"{n} {step}\n")
    sys.stdout.flush()
